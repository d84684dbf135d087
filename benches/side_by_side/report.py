import json
def machine(c,n): return ""
def write(runs, where, about):
    (where/"raw.json").write_text(json.dumps(runs,indent=1))
