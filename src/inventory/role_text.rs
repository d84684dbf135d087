//! Texts about roles that differ by the names of the roles alone, mostly: without them they are one text for all.
//!
//! Pure. What must stay true: with the name of its role every text is told to the letter as it was read.

use std::{borrow::Cow, fmt, sync::Arc};

use crate::names::RoleName;

/// Stands for the name of the role: no JSON has it, nor a name.
const PLACE: &str = "\0";

/// A text about a role, without the role's name.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RoleText(Kept);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Kept {
    /// Where [`PLACE`] stands, the role's name does.
    OfRole(Arc<str>),
    /// As it is.
    Whole(Arc<str>),
}

impl RoleText {
    /// The text about this role.
    #[must_use]
    pub fn new(role: &RoleName, text: &str) -> Self {
        Self::sharing(role, text, |text| text.into())
    }

    /// The same, where `share` gives texts that are alike to all who have them.
    pub(super) fn sharing(role: &RoleName, text: &str, share: impl FnOnce(&str) -> Arc<str>) -> Self {
        Self(if text.contains(PLACE) {
            Kept::Whole(share(text))
        } else {
            Kept::OfRole(share(&text.replace(role.as_str(), PLACE)))
        })
    }

    /// The text, where it is about this role.
    #[must_use]
    pub fn of(&self, role: &RoleName) -> Cow<'_, str> {
        match &self.0 {
            Kept::OfRole(text) if text.contains(PLACE) => text.replace(PLACE, role.as_str()).into(),
            Kept::OfRole(text) | Kept::Whole(text) => (&**text).into(),
        }
    }

    /// Whether it is this one, where it is about this role.
    #[must_use]
    pub fn is(&self, role: &RoleName, told: &str) -> bool {
        match &self.0 {
            Kept::OfRole(text) => {
                let mut parts = text.split(PLACE);
                let start = parts.next().unwrap_or_default();
                let rest = parts.try_fold(told.strip_prefix(start), |rest, part| {
                    rest.map(|rest| rest.strip_prefix(role.as_str())?.strip_prefix(part))
                });
                rest.flatten() == Some("")
            }
            Kept::Whole(text) => **text == *told,
        }
    }
}

/// As it is kept.
impl fmt::Debug for RoleText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Kept::OfRole(text) | Kept::Whole(text)) = &self.0;
        text.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_a_role_is_called_its_text_is_told_as_it_was_read(
            name in "[ab.]{1,2}", text in "[ab.\0]{0,12}", other in "[ab.\0]{0,12}",
        ) {
            let role: RoleName = name.parse().unwrap();
            let kept = RoleText::new(&role, &text);
            prop_assert_eq!(kept.of(&role), text.as_str());
            prop_assert!(kept.is(&role, &text));
            for other in [other, format!("{text}a"), text.chars().skip(1).collect(), text.replace('a', "b")] {
                prop_assert_eq!(kept.is(&role, &other), other == text, "{:?}", other);
            }
        }
    }

    #[test]
    fn what_differs_by_the_names_of_roles_alone_is_one_text() {
        let kept = ["orders", "web", "billing+eu@1"].map(|name| {
            let role = name.parse().unwrap();
            RoleText::new(&role, &format!("arn:aws:s3:::{name}-assets/{name}/*"))
        });
        assert!(kept.iter().all(|text| *text == kept[0]), "{kept:?}");
        assert_eq!(kept[0].of(&"web".parse().unwrap()), "arn:aws:s3:::web-assets/web/*");
    }
}
