use super::*;

const EXISTING_ROLE: &str = include_str!("../../../tests/data/policies/a_existing_role.json");
const HYBRID_TRUST: &str = include_str!("../../../tests/data/policies/trust_hybrid_ssm.json");
const MANAGED: &str = include_str!("../../../tests/data/policies/aws_managed_policies.json");

fn parse(text: &str) -> Document {
    Document::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn statement(text: &str) -> String {
    format!(r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow",{text}}}]}}"#)
}

#[test]
fn awss_own_documents_are_read_whole() {
    let managed: Map<String, Value> = serde_json::from_str(MANAGED).unwrap();
    for (name, policy) in managed {
        let document = parse(&policy["Document"].to_string());
        assert!(document.unknown.is_empty() && !document.denies(), "{name}");
    }
    assert_eq!(parse(EXISTING_ROLE).statements.len(), 3);
}

#[test]
fn a_trust_policys_principal_is_kept_and_its_missing_resource_told_apart() {
    let trust = parse(HYBRID_TRUST);
    let statement = &trust.statements[0];
    assert_eq!(statement.resource, None);
    assert_eq!(statement.unknown.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["Principal"]);
    assert_eq!(statement.conditions.len(), 2);
    assert_ne!(trust, parse(&HYBRID_TRUST.replace("ssm.amazonaws.com", "ec2.amazonaws.com")));
}

#[test]
fn a_document_is_written_and_read_back_equal() {
    for text in [
        EXISTING_ROLE,
        HYBRID_TRUST,
        r#"{"Statement":[]}"#,
        r#"{"Version":"2008-10-17","Id":"i\"d","Future":{"a":[1,null]},"Statement":{"Sid":"S","Effect":"Deny","NotAction":"a:b",
            "NotResource":["r","s"],"Condition":{"Bool":{"aws:x":true,"aws:y":["1",2]}},"More":[]}}"#,
    ] {
        let document = parse(text);
        assert_eq!(parse(&document.to_string()), document);
    }
}

#[test]
fn how_a_value_is_wrapped_does_not_make_documents_differ() {
    for (one, other) in [
        (statement(r#""Action":"a:b","Resource":"*""#), statement(r#""Resource":["*"],"Action":["a:b"]"#)),
        (
            r#"{"Statement":{"Effect":"Allow","Action":"a:b","Resource":"*"}}"#.to_owned(),
            r#"{"Statement":[{"Effect":"Allow","Action":"a:b","Resource":"*"}]}"#.to_owned(),
        ),
        (
            statement(r#""Action":"a:b","Resource":"*","Condition":{"Bool":{"k":true},"NumericEquals":{"n":[1.5]}}"#),
            statement(
                r#""Action":"a:b","Resource":"*","Condition":{"Bool":{"k":["true"]},"NumericEquals":{"n":"1.5"}}"#,
            ),
        ),
    ] {
        assert_eq!(parse(&one), parse(&other));
    }
}

#[test]
fn whatever_else_is_written_differently_makes_documents_differ() {
    let base = statement(r#""Sid":"A","Action":["a:b","a:c"],"Resource":"*""#);
    for (what, other) in [
        ("order", base.replace(r#""a:b","a:c""#, r#""a:c","a:b""#)),
        ("case", base.replace("a:b", "a:B")),
        ("Sid", base.replace(r#""A""#, r#""B""#)),
        ("Version", base.replace("2012", "2008")),
        ("absent Version", base.replace(r#""Version":"2012-10-17","#, "")),
        ("Id", base.replace(r#"{"Version""#, r#"{"Id":"i","Version""#)),
        ("unknown element", base.replace(r#""Sid":"A""#, r#""Sid":"A","Future":1"#)),
    ] {
        assert_ne!(parse(&base), parse(&other), "{what}");
    }
}

#[test]
fn what_is_wrong_is_said_in_a_short_line() {
    let cases = [
        ("", "EOF"),
        ("[]", "not a JSON object"),
        ("{}", "Statement is missing"),
        (r#"{"Statement":42}"#, "neither an object nor a list"),
        (r#"{"Statement":[42]}"#, "statement 1: it is not a JSON object"),
        (r#"{"Version":"2012-06-17","Statement":[]}"#, "2012-06-17"),
        (r#"{"Version":20121017,"Statement":[]}"#, "not a version"),
        (r#"{"Version":"2012-10-17","Version":"2008-10-17","Statement":[]}"#, "`Version` stands twice"),
        (r#"{"Statement":{"Effect":"deny","Action":"*","Resource":"*"}}"#, r#"Effect is "deny""#),
        (r#"{"Statement":{"Action":"*","Resource":"*"}}"#, "Effect is missing"),
        (&statement(r#""Resource":"*""#), "neither Action nor NotAction"),
        (&statement(r#""Action":"a","NotAction":"b","Resource":"*""#), "both Action and NotAction"),
        (&statement(r#""Action":"a","Resource":"b","NotResource":"*""#), "both Resource and NotResource"),
        (&statement(r#""Action":"a","Resource":{}"#), "Resource is neither"),
        (&statement(r#""Action":"a","Resource":[[42]]"#), "Resource is neither"),
        (&statement(r#""Action":null,"Resource":"*""#), "Action is neither"),
        (&statement(r#""Action":"a","Resource":"*","Sid":1"#), "Sid is not a string"),
        (&statement(r#""Action":"a","Resource":"*","Condition":[]"#), "Condition is not"),
        (&statement(r#""Action":"a","Resource":"*","Condition":{"Bool":"x"}"#), "Condition Bool"),
        (&statement(r#""Action":"a","Resource":"*","Condition":{"Bool":{"k":null}}"#), "Condition k"),
        (&statement(r#""Action":"a","Resource":"*","Condition":{"Bool":{"k":"1","K":"2"}}"#), "names k twice"),
        (&statement(r#""Action":"a","Resource":"*","Future":{"deep":[{"x":1,"x":2}]}"#), "`x` stands twice"),
        (&statement(r#""Action":"a","Resource":"*","Condition":{"a\u001b\nb":1}"#), "Condition a  b is not"),
        (&format!(r#"{{"Version":"{}","Statement":[]}}"#, "é".repeat(9_000)), "…"),
        (&format!(r#"{{"Statement":{}1{}}}"#, "[".repeat(200_000), "]".repeat(200_000)), "recursion limit"),
    ];
    for (text, expected) in cases {
        let error = Document::parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(error.chars().count() < 200 && !error.contains(char::is_control), "{error:?}");
    }
}

#[test]
fn a_document_denies_where_any_statement_does() {
    assert!(!parse(EXISTING_ROLE).denies());
    assert!(parse(&EXISTING_ROLE.replacen("Allow", "Deny", 1)).denies());
}

#[test]
fn an_action_is_allowed_by_name_by_pattern_and_by_not_being_excluded() {
    let allows =
        |clause: &str| parse(&statement(clause)).allows_any_of(&["ssm:UpdateInstanceInformation", "kms:Decrypt"]);
    for clause in [
        r#""Action":"SSM:updateinstanceinformation","Resource":"*""#,
        r#""Action":["a:b","kms:De*"],"Resource":"*""#,
        r#""Action":"*","Resource":"*""#,
        r#""NotAction":"iam:*","Resource":"*""#,
        r#""NotAction":"ssm:*","Resource":"*""#,
    ] {
        assert!(allows(clause), "{clause}");
    }
    for clause in [
        r#""Action":"ssm:UpdateInstance","Resource":"*""#,
        r#""Action":[],"Resource":"*""#,
        r#""NotAction":["ssm:*","kms:*"],"Resource":"*""#,
        r#""NotAction":"*","Resource":"*""#,
    ] {
        assert!(!allows(clause), "{clause}");
    }
    assert!(!parse(&statement(r#""Action":"*","Resource":"*""#).replace("Allow", "Deny")).allows_any_of(&["a:b"]));
}

#[test]
fn the_canonical_form_is_sorted_merged_and_folded() {
    let document = parse(
        r#"{"Id": "x", "Statement": [
            {"Sid": "Two", "Effect": "Allow", "Action": ["S3:Put**", "s3:Get*?"], "Resource": ["b", "a", "a"]},
            {"Effect": "Deny", "NotAction": ["b:B", "a:A"], "Resource": "*"},
            {"Effect": "Allow", "Action": "s3:put*", "Resource": "c"},
            {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": "*",
             "Condition": {"stringEquals": {"AWS:x": ["2", "1", "2"]}}},
            {"Effect": "Allow", "Action": "s3:get?*", "Resource": "c"},
            {"Effect": "Allow", "NotAction": ["*"], "Resource": "*"},
            {"Effect": "Allow", "Action": "a:b", "Resource": []}]}"#,
    );
    insta::assert_snapshot!(document.folded().merged().to_string().replace("},{", "},\n{"), @r#"
    {"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["kms:decrypt"],"Resource":"*","Condition":{"stringequals":{"aws:x":["1","2"]}}},
    {"Effect":"Allow","Action":["s3:get?*","s3:put*"],"Resource":["a","b","c"]},
    {"Effect":"Deny","NotAction":["a:a","b:b"],"Resource":"*"}]}
    "#);
}

#[test]
fn the_version_stays_only_where_it_decides() {
    let canonical = |text: &str| parse(text).folded().merged().version;
    for resource in ["*", "a$b", "{x}"] {
        let text = format!(r#"{{"Statement":{{"Effect":"Allow","Action":"${{a}}","Resource":"{resource}"}}}}"#);
        assert_eq!(canonical(&text), Version::V2012);
    }
    for rest in
        [r#""Resource":"${aws:x}""#, r#""NotResource":"${aws:x}""#, r#""Resource":"*","Condition":{"a":{"b":"${x}"}}"#]
    {
        let text = format!(r#"{{"Statement":{{"Effect":"Allow","Action":"a:b",{rest}}}}}"#);
        assert_eq!(canonical(&text), Version::V2008);
    }
}

/// Thousands are held at once.
#[test]
fn a_document_of_three_statements_takes_well_under_four_kilobytes() {
    fn texts(texts: &Texts) -> usize {
        texts.iter().map(|text| size_of::<Box<str>>() + text.len() + 16).sum()
    }
    let document = parse(EXISTING_ROLE);
    let statements = document.statements.iter().map(|statement| {
        let (Clause::Only(actions) | Clause::Except(actions)) = &statement.action;
        let Some(Clause::Only(resources)) = &statement.resource else { panic!() };
        size_of::<Statement>() + texts(actions) + texts(resources)
    });
    let bytes = size_of::<Document>() + statements.sum::<usize>();
    assert!(bytes < 1_500, "{bytes}");
}

#[test]
fn a_number_that_is_not_understood_is_printed_as_the_number_that_it_is() {
    let text = r#"{"Statement":[],"X":[1.2345678901234563e-7,0.1,5e-324]}"#;
    let document = parse(text);
    assert_eq!(document.to_string(), text);
    assert_eq!(parse(&document.to_string()), document);
}
