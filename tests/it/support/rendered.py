"""Renders a comment as GitHub does, and prints what stands outside of code: its text, and every tag of the page."""

import html.parser
import json
import sys

import cmarkgfm


class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.code, self.text, self.tags, self.comments = 0, "", [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append([tag, attributes])
        self.code += tag in ("code", "pre")

    def handle_endtag(self, tag):
        self.code -= tag in ("code", "pre")

    def handle_data(self, data):
        self.text += "" if self.code else data

    def handle_comment(self, data):
        self.comments.append(data)


page = Page()
# As it is: what GitHub would clean away afterwards counts as well.
options = cmarkgfm.cmark.Options.CMARK_OPT_UNSAFE
page.feed(cmarkgfm.github_flavored_markdown_to_html(sys.stdin.read(), options))
json.dump({"text": page.text, "tags": page.tags, "comments": page.comments}, sys.stdout)
