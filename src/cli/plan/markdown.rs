//! A plan as a comment on a pull request, in GitHub's Markdown.
//!
//! Pure. What must stay true: whatever comes from IAM or from a manifest stands in code, inline or in a block, whose fence
//! is longer than any in it: there no markup, mention, link or comment begins. And no page is longer than GitHub takes.
//!
//! Source: GitHub Flavored Markdown Spec, "Code spans", "Fenced code blocks".

use std::{collections::BTreeMap, fmt::Write as _};

use super::{Planned, came_of, counts, descriptions, held, verdict};
use crate::{
    manifest::ManifestSet,
    names::{AccountId, RoleName},
    plan::{Action, Reason, Step},
    policy::compare::Direction,
    readiness::Status,
    text::printable,
};

/// The longest page, in characters. GitHub takes 65,536.
const LONGEST: usize = 65_000;
/// What the sentence about the rest takes at most, in characters.
const ROOM_FOR_THE_REST: usize = 200;
/// So much is shown of any one text, in characters.
const LONGEST_TEXT: usize = 400;
/// So many changes are shown of a policy.
const MOST_CHANGES: usize = 30;
/// So many roles are named that could not be read for one and the same cause.
const MOST_UNREAD: usize = 20;

/// The plans of all accounts as one page. `only`: the one role that was asked for.
pub(super) fn page(plans: &[Planned], manifests: &ManifestSet, only: Option<&RoleName>) -> String {
    let steps: Vec<&Step> = plans.iter().flat_map(|planned| &planned.steps).collect();
    let mut page = format!("### ssm-role-controller plan: {}\n\n{}\n", headline(&steps), counts(&steps));
    let (mut length, mut left_out) = (page.chars().count(), 0);
    for (about, piece) in pieces(plans, &descriptions(manifests), only) {
        let longer = length + piece.chars().count() + 1;
        // Once something is left out so is all that follows, which matters less.
        if left_out > 0 || longer + ROOM_FOR_THE_REST > LONGEST {
            left_out += about.max(1);
            continue;
        }
        length = longer;
        page.push('\n');
        page.push_str(&piece);
    }
    if left_out > 0 {
        let what = if left_out == 1 { "1 more entry is" } else { &format!("{left_out} more entries are") };
        // Writing to a String cannot fail.
        let _ = write!(
            page,
            "\n**{what} left out here**, since a comment has room for 65,536 characters: `plan` without `-o markdown` prints all.\n"
        );
    }
    page
}

/// What would be done, in a few words.
fn headline(steps: &[&Step]) -> String {
    let count = |is: &dyn Fn(&Step) -> bool| steps.iter().filter(|step| is(step)).count();
    let counted = [
        (count(&|step| step.action == Action::Put), "to be written"),
        (count(&|step| step.action == Action::Delete), "to be removed"),
        (count(&|step| step.action == Action::Blocked), "blocked"),
        (count(&|step| step.action == Action::None && step.has_drifted()), "only told"),
    ];
    let said: Vec<String> =
        counted.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    if said.is_empty() { "nothing to be changed".to_owned() } else { said.join(", ") }
}

/// The parts of the page, the weightiest first, each with how many policies it is about.
fn pieces(plans: &[Planned], descriptions: &BTreeMap<&str, &str>, only: Option<&RoleName>) -> Vec<(usize, String)> {
    let mut pieces = Vec::new();
    for planned in plans {
        let account = planned.account.as_ref().map_or("unknown", AccountId::as_str);
        if let Some(excess) = &planned.held {
            let held = held(excess, planned.digest.as_ref());
            pieces.push((0, format!("> Account {}: {}", code(account), held.trim_end().replace('\n', "\n> ")) + "\n"));
        } else if let Some(digest) = &planned.digest {
            pieces
                .push((0, format!("Account {}: the plan's digest is {}\n", code(account), code(&digest.to_string()))));
        }
        for why in &planned.unresolved {
            pieces.push((0, format!("**Not known:** {}\n", code(why))));
        }
    }
    let (unread, mut others): (Vec<&Step>, Vec<&Step>) = plans
        .iter()
        .flat_map(|planned| &planned.steps)
        .partition(|step| step.reason == Some(Reason::Unknown) && step.detail.is_none());
    if !unread.is_empty() {
        let roles = unread.iter().take(MOST_UNREAD).map(|step| code(step.target.role.as_str())).collect::<Vec<_>>();
        let more = unread.len() - roles.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        pieces.push((unread.len(), format!("**Not read, so nothing is concluded:** {}{more}\n", roles.join(", "))));
    }
    others.retain(|step| !step.is_in_sync() || step.drift.is_some() || !step.is_session_ready());
    if others.iter().any(|step| step.has_drifted()) {
        pieces.push((
            0,
            "In each difference, `-` is what the role has lost, and `+` what it has gained, against its manifest.\n"
                .to_owned(),
        ));
    }
    others.sort_by_key(|step| weight(step));
    pieces.extend(others.into_iter().map(|step| (1, section(step, descriptions.get(&*step.manifest).copied()))));
    let only = only.map(|role| code(role.as_str()));
    for pick in plans.iter().flat_map(|planned| &planned.picks) {
        if let Some(came) = came_of(pick, only.as_deref()) {
            let (manifest, selector) = (code(&pick.manifest), code(&pick.selector));
            pieces.push((0, format!("The selector of manifest {manifest} ({selector}) {came}.\n")));
        }
    }
    pieces
}

/// What a person looks for first: the smaller the earlier.
fn weight(step: &Step) -> u8 {
    match step.action {
        Action::Blocked => 0,
        Action::Delete => 1,
        Action::Put => 2,
        Action::None if step.has_drifted() => 3,
        Action::None if !step.is_session_ready() => 4,
        Action::None => 5,
    }
}

fn section(step: &Step, description: Option<&str>) -> String {
    let account = step.target.account.as_ref().map_or("unknown", AccountId::as_str);
    let mut section = format!(
        "#### {}: {}\n\nPolicy {} in account {}, manifest {}\n",
        code(step.target.role.as_str()),
        verdict(step),
        code(step.target.policy.as_str()),
        code(account),
        code(&step.manifest)
    );
    let mut line = |text: String| {
        let _ = write!(section, "\n{text}\n");
    };
    if let Some(description) = description {
        line(format!("Description: {}", code(description)));
    }
    if let Some(selector) = step.origin.selector() {
        line(format!("Picked by the manifest's selector: {}", code(&selector.to_string())));
    }
    if step.has_drifted() {
        line(diff(step));
    }
    if let Some(Err(why)) = step.live.as_ref().map(|live| live.parsed()) {
        line(format!("The live document cannot be read as a policy: {}", code(why)));
    }
    if let Some(reason) = step.reason {
        line(format!("**{reason}**: {}", reason.explanation()));
        if let Some(detail) = &step.detail {
            line(code(detail));
        }
        line(format!("Hint: {}", reason.hint()));
    }
    if let Some(session) = step.session.as_ref().filter(|_| !step.is_session_ready()) {
        let what = match session.status {
            Status::False => "Sessions would not work as the manifest asks",
            Status::True | Status::Unknown => "It is not sure that sessions would work as the manifest asks",
        };
        line(format!("{what} ({}): {}", session.cause, code(&session.message())));
        line(format!("Hint: {} shows every check", code(&format!("explain {}", step.target.role))));
    }
    section
}

/// The changes of a policy in a block, which GitHub shows in two colours.
fn diff(step: &Step) -> String {
    let changes = step.changes.iter().take(MOST_CHANGES).map(|change| {
        let sign = match change.change {
            Direction::Lost => '-',
            Direction::Gained => '+',
        };
        format!("{sign} {}\n", cut(&printable(&change.summary())))
    });
    let mut block: String = changes.collect();
    if step.changes.len() > MOST_CHANGES {
        let _ = writeln!(block, "  and {} more changes", step.changes.len() - MOST_CHANGES);
    }
    let fence = "`".repeat((longest_fence(&block) + 1).max(3));
    format!("{fence}diff\n{block}{fence}")
}

/// Text as it is, in one line of code.
fn code(text: &str) -> String {
    let text = cut(&printable(text));
    if text.trim().is_empty() {
        return "(empty)".to_owned();
    }
    let fence = "`".repeat(longest_fence(&text) + 1);
    // A fence must not touch another one, and one space at either end is taken away again.
    let is_bare = !text.starts_with(['`', ' ']) && !text.ends_with(['`', ' ']);
    let space = if is_bare { "" } else { " " };
    format!("{fence}{space}{text}{space}{fence}")
}

/// The longest run of backticks.
fn longest_fence(text: &str) -> usize {
    text.split(|character| character != '`').map(str::len).max().unwrap_or_default()
}

fn cut(text: &str) -> String {
    let mut short: String = text.chars().take(LONGEST_TEXT).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn code_begins_and_ends_where_it_should() {
        for (text, written) in [
            ("web", "`web`"),
            ("a`b", "``a`b``"),
            ("`", "`` ` ``"),
            ("``a", "``` ``a ```"),
            (" a", "`  a `"),
            ("", "(empty)"),
            ("  ", "(empty)"),
            ("a\nb\r\n- c", r"`a\u{a}b\u{d}\u{a}- c`"),
            ("<!-- @x -->[a](b)|", "`<!-- @x -->[a](b)|`"),
        ] {
            assert_eq!(code(text), written);
        }
    }

    proptest! {
        #[test]
        fn no_text_ends_its_code(text in "([a-z`\n <>@]|`{1,5}|\\\\){0,30}") {
            let written = code(&text);
            prop_assume!(written != "(empty)");
            let fence = written.len() - written.trim_start_matches('`').len();
            let inner = &written[fence..written.len() - fence];
            prop_assert!(written.ends_with(&"`".repeat(fence)) && !inner.starts_with('`') && !inner.ends_with('`'));
            prop_assert!(longest_fence(inner) < fence);
            prop_assert!(!written.contains('\n'));
        }
    }
}
