//! Wildcards and the parts of ARNs: what is documented of them, and what is not.

use super::*;

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
