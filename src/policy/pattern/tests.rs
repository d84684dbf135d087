use proptest::prelude::*;

use super::*;

fn covers(wide: &str, narrow: &str) -> bool {
    Pattern::resource(wide, true).covers(&Pattern::resource(narrow, true))
}

fn intersects(one: &str, other: &str) -> bool {
    Pattern::resource(one, true).intersects(&Pattern::resource(other, true))
}

#[test]
fn a_pattern_covers_what_admits_no_more() {
    for (wide, narrow) in [
        ("*", ""),
        ("*", "anything"),
        ("a*", "a"),
        ("a*", "ab*"),
        ("a?c", "abc"),
        ("a?c", "a?c"),
        ("*b*", "abc"),
        ("*?", "a*"),
        ("?*", "*a"),
        ("**", "*"),
        ("*?*", "?"),
        ("a*?c", "a?*c"),
        ("*ab", "*aab"),
        ("arn:aws:s3:::*/x/*", "arn:aws:s3:::b/c/x/y"),
    ] {
        assert!(covers(wide, narrow), "{wide} covers {narrow}");
    }
}

#[test]
fn a_pattern_does_not_cover_what_admits_more() {
    for (wide, narrow) in [
        ("", "a"),
        ("a", "A"),
        ("?", "*"),
        ("?", ""),
        ("?*", "*"),
        ("a*", "*"),
        ("ab", "a?"),
        ("*a*b", "*b*a"),
        ("a*a", "a"),
    ] {
        assert!(!covers(wide, narrow), "{wide} does not cover {narrow}");
    }
}

#[test]
fn a_variable_may_be_anything_and_is_covered_by_itself_or_a_star() {
    assert!(covers("home/${aws:username}/*", "home/${aws:username}/a"));
    assert!(covers("home/*", "home/${aws:username}"));
    for wide in ["home/?", "home/?*", "home/a", "home/${aws:userid}", "home/"] {
        assert!(!covers(wide, "home/${aws:username}"), "{wide}");
    }
    assert!(!covers("home/${aws:username}", "home/a"));
    assert!(intersects("home/${aws:username}", "home/a"));
    assert!(intersects("home/${aws:username}", "home/"));
    assert!(!intersects("home/${aws:username}", "work/a"));
}

#[test]
fn only_the_new_syntax_knows_variables() {
    assert!(covers("a${*}", "a${*}"));
    assert!(!covers("a${*}", "ab"));
    assert!(covers("a?", "a${*}"), "a literal star is one character");
    assert!(covers("a?", "a${$}"));
    let old = |text| Pattern::resource(text, false);
    assert!(old("a${*}").covers(&old("a${bc}")), "a star between literal braces");
    assert!(!old("a${b}").covers(&old("a${c}")));
    assert!(covers("a${b", "a${b"), "braces that never close are text");
}

#[test]
fn actions_compare_ignoring_case_and_resources_do_not() {
    assert!(Pattern::action("SSMmessages:Create*").covers(&Pattern::action("ssmmessages:createDataChannel")));
    assert!(!covers("arn:aws:s3:::Bucket", "arn:aws:s3:::bucket"));
}

#[test]
fn patterns_intersect_where_some_string_is_admitted_by_both() {
    for (one, other) in
        [("*", "*"), ("a*", "*b"), ("a?", "?b"), ("", "*"), ("a*c", "abc"), ("*a*", "*b*"), ("s3:*", "s3:get*")]
    {
        assert!(intersects(one, other) && intersects(other, one), "{one} and {other}");
    }
    for (one, other) in
        [("a", "b"), ("a*", "b*"), ("*a", "*b"), ("", "?"), ("?", "ab"), ("s3:*", "iam:*"), ("s3", "s3:")]
    {
        assert!(!intersects(one, other) && !intersects(other, one), "{one} and {other}");
    }
}

#[test]
/// A search that tried every way would not end within the age of the universe.
fn the_search_in_hostile_patterns_comes_to_an_end() {
    let (wide, narrow) = (format!("{}b", "*a".repeat(2_000)), "a".repeat(8_000));
    assert!(!covers(&wide, &narrow));
    assert!(!intersects(&wide, &narrow));
}

#[test]
fn a_wildcard_inside_a_part_is_kept_in_it_and_a_star_that_ends_one_is_not() {
    for (pattern, arn, admits) in [
        ("arn:aws:kms:us-*1:1:key/1", "arn:aws:kms:us-east-1:1:key/1", true),
        ("arn:aws:kms:us-*1:key/1", "arn:aws:kms:us-east-1:1:key/1", false),
        ("arn:aws:kms:us-*:*:key/?*1", "arn:aws:kms:us-east-1:1:key/a:1", true),
        ("arn:aws:kms:a?1:key/1", "arn:aws:kms:a:1:key/1", false),
        ("a*c", "a:c", false),
    ] {
        let kept = Pattern::resource(pattern, false).kept_in_parts();
        let kept = kept.unwrap_or_else(|| Pattern::resource(pattern, false));
        assert_eq!(kept.covers(&Pattern::text(arn, false)), admits, "{pattern}");
        assert_eq!(kept.intersects(&Pattern::text(arn, false)), admits, "{pattern}");
    }
    for pattern in ["*", "arn:aws:s3:::a*b", "arn:aws:ec2:*:*:instance/*", "arn:aws:ec2:us-*"] {
        assert_eq!(Pattern::resource(pattern, false).kept_in_parts(), None, "{pattern}");
    }
}

#[test]
fn tidying_gives_runs_of_wildcards_one_order() {
    for (text, tidied) in [
        ("a", "a"),
        ("*", "*"),
        ("a**b", "a*b"),
        ("*?*?", "??*"),
        ("?*", "?*"),
        ("x*?y?*z**", "x?*y?*z*"),
        ("${**}", "${**}"),
    ] {
        assert_eq!(tidy(text), tidied);
    }
}

/// All words of up to five letters; `z` stands in no pattern.
fn words() -> Vec<String> {
    words_of(['a', 'b', 'z'])
}

fn words_of(letters: [char; 3]) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut longest = words.clone();
    for _ in 0..5 {
        longest = longest.iter().flat_map(|word| letters.map(|letter| format!("{word}{letter}"))).collect();
        words.extend(longest.iter().cloned());
    }
    words
}

#[test]
fn what_is_asked_about_holds_no_colon_in_place_of_a_wildcard() {
    let within = |arn| Pattern::within(arn);
    let instance = within("arn:aws:ec2:*:1:instance/i-*");
    for (pattern, covers, intersects) in [
        ("arn:aws:ec2:*:*:instance/*", true, true),
        ("arn:aws:ec2:*", true, true),
        ("arn:aws:ec2:us-*:1:instance/*", false, true),
        ("arn:aws:ec2:*:*:volume/*", false, false),
        ("arn:aws:ec2:*:1:instance/i-0:1", false, false),
        ("arn:aws:ec2:?:1:instance/i-?", false, true),
        ("arn:aws:ec2:${aws:x}:1:instance/*", false, true),
    ] {
        let pattern = Pattern::resource(pattern, true);
        assert_eq!((pattern.covers(&instance), pattern.intersects(&instance)), (covers, intersects), "{pattern:?}");
        assert_eq!(instance.intersects(&pattern), intersects, "{pattern:?}");
    }
    let object = Pattern::below("arn:aws:s3:*:*:a/*");
    assert!(Pattern::resource("arn:aws:s3:::a/b:c", true).intersects(&object));
    assert!(!Pattern::resource("arn:aws:s3:x:::a/b", true).intersects(&object));
}

fn admits(pattern: &str, word: &str) -> bool {
    covers(pattern, word)
}

/// Reading a pattern straight from its meaning, slowly; `none` is what no wildcard stands for.
fn admits_plainly(pattern: &[char], word: &[char], none: Option<char>) -> bool {
    let keeps_from = |letters: &[char]| none.is_none_or(|none| !letters.contains(&none));
    match (pattern, word) {
        ([], word) => word.is_empty(),
        (['*', rest @ ..], word) => {
            (0..=word.len()).any(|taken| keeps_from(&word[..taken]) && admits_plainly(rest, &word[taken..], none))
        }
        (['?', rest @ ..], [letter, word @ ..]) => keeps_from(&[*letter]) && admits_plainly(rest, word, none),
        ([wanted, rest @ ..], [letter, word @ ..]) => wanted == letter && admits_plainly(rest, word, none),
        (_, []) => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_word_is_admitted_as_the_plain_reading_says(pattern in "[ab?*]{0,5}") {
        let plain: Vec<char> = pattern.chars().collect();
        for word in words() {
            let letters: Vec<char> = word.chars().collect();
            prop_assert_eq!(admits(&pattern, &word), admits_plainly(&plain, &letters, None), "{} {}", pattern, word);
        }
    }

    /// Five letters suffice to tell patterns of at most three tokens apart.
    #[test]
    fn covering_and_intersecting_are_what_the_words_say(one in "[ab?*]{0,3}", other in "[ab?*]{0,3}") {
        let words = words();
        let all = words.iter().filter(|word| admits(&other, word)).all(|word| admits(&one, word));
        let any = words.iter().any(|word| admits(&one, word) && admits(&other, word));
        prop_assert_eq!(covers(&one, &other), all);
        prop_assert_eq!(intersects(&one, &other), any);
    }

    #[test]
    fn of_what_is_asked_about_the_words_say_the_same(one in "[a:?*]{0,3}", asked in "[a:?*]{0,3}") {
        let (pattern, question) = (Pattern::resource(&one, false), Pattern::within(&asked));
        let letters = |text: &str| text.chars().collect::<Vec<char>>();
        let words: Vec<Vec<char>> = words_of(['a', ':', 'z']).iter().map(|word| letters(word)).collect();
        let asked_about = || words.iter().filter(|word| admits_plainly(&letters(&asked), word, Some(':')));
        let admitted = |word: &&Vec<char>| admits_plainly(&letters(&one), word, None);
        prop_assert_eq!(pattern.covers(&question), asked_about().all(|word| admitted(&word)));
        prop_assert_eq!(pattern.intersects(&question), asked_about().any(|word| admitted(&word)));
        prop_assert_eq!(question.intersects(&pattern), pattern.intersects(&question));
    }

    #[test]
    fn what_is_covered_admits_no_other_words(one in "[ab?*]{0,7}", other in "[ab?*]{0,7}") {
        if covers(&one, &other) {
            for word in words().iter().filter(|word| admits(&other, word)) {
                prop_assert!(admits(&one, word), "{}", word);
                prop_assert!(intersects(&one, word));
            }
        }
    }

    #[test]
    fn covering_is_reflexive(text in "([ab?*]|\\$\\{[ab*?$]\\}){0,8}") {
        prop_assert!(covers(&text, &text));
        prop_assert!(covers(&text, &tidy(&text)) && covers(&tidy(&text), &text));
        prop_assert!(covers("*", &text));
    }

    #[test]
    fn covering_is_transitive(
        one in "([a?*]|\\$\\{v\\}){0,4}", two in "([a?*]|\\$\\{v\\}){0,4}", three in "([a?*]|\\$\\{v\\}){0,4}",
    ) {
        if covers(&one, &two) && covers(&two, &three) {
            prop_assert!(covers(&one, &three));
        }
    }

    /// Made to be covered, since two patterns at random rarely are.
    #[test]
    fn filling_a_wildcard_narrows_a_pattern(parts in prop::collection::vec(("[ab?*]{0,2}", "[ab?]{0,3}"), 0..5)) {
        let wide: String = parts.iter().map(|(text, _)| format!("{text}*")).collect();
        let narrow: String = parts.iter().map(|(text, filling)| format!("{text}{filling}")).collect();
        prop_assert!(covers(&wide, &narrow), "{} {}", wide, narrow);
        prop_assert!(intersects(&wide, &narrow));
    }

    #[test]
    fn intersecting_is_symmetric(one in "([ab?*]|\\$\\{v\\}){0,6}", other in "([ab?*]|\\$\\{v\\}){0,6}") {
        prop_assert_eq!(intersects(&one, &other), intersects(&other, &one));
    }
}
