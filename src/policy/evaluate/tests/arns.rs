//! Wildcards and the parts of ARNs: what is documented of them, and what is not.

use super::*;

const KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/1234abcd";

fn of_key(pattern: &str) -> &'static str {
    one(allow(json!("kms:Decrypt"), json!(pattern)), "kms:Decrypt", Resource::Exactly(KEY))
}

#[test]
fn a_star_that_ends_a_part_runs_on_across_colons_and_one_inside_a_part_is_not_sure_to() {
    for (pattern, expected) in [
        ("arn:aws:kms:*:key/1234abcd", "allowed"),
        ("arn:aws:kms:us-*:key/1234abcd", "allowed"),
        ("arn:aws:k*", "allowed"),
        ("arn:aws:kms:us-*-1:111122223333:key/*", "allowed"),
        ("arn:aws:kms:us-????-1:1*3:key/?234*d", "allowed"),
        ("arn:aws:kms:*:1*3:key/1234abcd", "allowed"),
        ("arn:aws:*:us-*1:111122223333:key/1234abcd", "allowed"),
        // A part that is passed over by one that ends it, and another that keeps to its own.
        ("arn:aws:*:1*3:key/1234abcd", "allowed"),
        ("arn:aws:kms:us-*3:key/1234abcd", "unknown"),
        ("arn:aws:kms:us-east-1?111122223333:key/1234abcd", "unknown"),
        ("arn:aws:kms:*/1234abcd", "unknown"),
        ("arn:aws:kms:u*:*3:key/1234abcd", "allowed"),
        ("arn:aws:kms:us-*4:key/1234abcd", "not granted"),
        ("arn:aws:kms:us-*2:111122223333:key/1234abcd", "not granted"),
    ] {
        assert_eq!(of_key(pattern), expected, "{pattern}");
    }
    let all_but = json!({"Effect": "Allow", "Action": "kms:*", "NotResource": "arn:aws:kms:us-*3:key/1234abcd"});
    assert_eq!(one(all_but, "kms:Decrypt", Resource::Exactly(KEY)), "unknown");
    let denied = json!([allow(json!("*"), json!("*")), deny(json!("*"), json!("arn:aws:kms:us-*3:key/1234abcd"))]);
    assert_eq!(one(denied, "kms:Decrypt", Resource::Exactly(KEY)), "unknown");

    // What follows the fifth colon is one part, colons and all.
    let stream = Resource::Exactly("arn:aws:logs:us-east-1:111122223333:log-group:/ssm:log-stream:a");
    let inside = allow(json!("logs:*"), json!("arn:aws:logs:*:111122223333:log-group:/s*stream:a"));
    assert_eq!(one(inside, "logs:PutLogEvents", stream), "allowed");

    let of_account = "arn:aws:kms:us-*3:key/1234abcd${aws:PrincipalAccount}";
    assert_eq!(of_key(of_account), "not granted", "what a variable stands for is known");

    let some = role(vec![inline("p", allow(json!("*"), json!("arn:aws:kms:us-*3:key/1234*")))], None);
    let Answer::Unknown { why } = ask(&some, "kms:Decrypt", Resource::Exactly(KEY)) else { panic!() };
    assert_eq!(why[0].what, "a wildcard inside a part of an ARN that would have to run across a colon");
}

#[test]
fn a_star_of_a_question_stands_for_nothing_that_holds_a_colon_but_at_the_end_of_an_object_s_key() {
    let any_instance = Resource::Within("arn:aws:ec2:*:111122223333:instance/i-*");
    let any_object = Resource::Below("arn:aws:s3:::logs/x/*");
    for (pattern, question, expected) in [
        ("arn:aws:ec2:*:111122223333:instance/*", any_instance, "allowed"),
        ("arn:aws:ec2:*:*:instance/i-*", any_instance, "allowed"),
        ("arn:aws:ec2:*", any_instance, "allowed"),
        ("arn:aws:ec2:eu-*:*:instance/*", any_instance, "conditional"),
        ("arn:aws:ec2:us-*-1:*:instance/i-0?", any_instance, "conditional"),
        ("arn:aws:ec2:*:*:volume/*", any_instance, "not granted"),
        ("arn:aws:ec2:*:*:instance/i-0:1", any_instance, "not granted"),
        ("arn:aws:ec2::111122223333:instance/i-0", any_instance, "conditional"),
        ("arn:aws:s3:::logs/*", any_object, "allowed"),
        ("arn:aws:s3:::logs/x/a:b/*", any_object, "conditional"),
        ("arn:aws:s3:::logs/y/*", any_object, "not granted"),
    ] {
        assert_eq!(one(allow(json!("*"), json!(pattern)), "s3:PutObject", question), expected, "{pattern}");
    }
}
