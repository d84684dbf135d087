//! Selectors: which roles of an account are meant by their path, name and tags.
//!
//! Pure. Knows how IAM compares such things, and nothing of manifests or of what may be written. What must stay true: every
//! part that is given must match, and a selector that matches says of each part why.
//!
//! Sources: IAM API Reference, `CreateRole` (names are distinguished without regard to case); IAM User Guide, "Tags for
//! AWS Identity and Access Management resources" (the keys of a role's tags are not case sensitive, their values are).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Serialize, Serializer, ser::SerializeMap};

/// Which roles are meant. Each part that is given must match; `exclude` takes roles out again.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selector {
    /// What the role's path begins with, `/` or `/…/`; case matters.
    pub path_prefix: Option<String>,
    /// What the role's name is like.
    pub name_like: Option<NamePattern>,
    /// Tags that the role carries, each with its value.
    pub tags: BTreeMap<TagKey, String>,
    /// Names that are not meant.
    pub exclude: Vec<NamePattern>,
}

/// Names with `*` (any characters, or none) and `?` (one character); case does not matter, as in the names of roles.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct NamePattern(String);

/// The key of a tag, as it was written: compared without regard to case, as IAM does for roles.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct TagKey(String);

/// Why a role is not meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch<'a> {
    /// Its path begins with something else.
    Path(&'a str),
    /// Its name is not like this.
    Name(&'a NamePattern),
    /// Its name is like one that is excluded.
    Excluded(&'a NamePattern),
    /// It has no such tag, or one of another value.
    Tag(&'a TagKey, &'a str),
}

impl Selector {
    /// The first part that does not match this role; none where it is meant. `tag` looks for the value of a tag.
    pub fn mismatch<'t>(
        &self,
        name: &str,
        path: &str,
        tag: impl Fn(&TagKey) -> Option<&'t str>,
    ) -> Option<Mismatch<'_>> {
        let other_path = self.path_prefix.as_deref().filter(|prefix| !path.starts_with(prefix)).map(Mismatch::Path);
        let other_name = || self.name_like.as_ref().filter(|like| !like.fits(name)).map(Mismatch::Name);
        let excluded = || self.exclude.iter().find(|like| like.fits(name)).map(Mismatch::Excluded);
        let other_tag = || {
            let missing = self.tags.iter().find(|(key, value)| tag(key) != Some(value.as_str()));
            missing.map(|(key, value)| Mismatch::Tag(key, value))
        };
        other_path.or_else(other_name).or_else(excluded).or_else(other_tag)
    }

    /// Whether a role of this name can be meant, whatever its path and tags are.
    #[must_use]
    pub fn admits_name(&self, name: &str) -> bool {
        self.name_like.as_ref().is_none_or(|like| like.fits(name)) && !self.exclude.iter().any(|like| like.fits(name))
    }
}

impl NamePattern {
    /// A pattern as it was written.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Whether the whole of `name` fits.
    ///
    /// A star that has to give way takes one more character, and only the last one has to: what an earlier one could take
    /// instead, the last one can too.
    #[must_use]
    pub fn fits(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut at, mut read) = (0, 0);
        let mut last_star = None;
        while read < name.len() {
            match pattern.get(at) {
                Some(b'*') => {
                    last_star = Some((at, read));
                    at += 1;
                }
                Some(sign) if *sign == b'?' || sign.eq_ignore_ascii_case(&name[read]) => {
                    at += 1;
                    read += 1;
                }
                _ => match &mut last_star {
                    Some((star, taken)) => {
                        *taken += 1;
                        (at, read) = (*star + 1, *taken);
                    }
                    None => return false,
                },
            }
        }
        pattern[at..].iter().all(|sign| *sign == b'*')
    }
}

impl TagKey {
    /// A key as it was written.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Whether this is the key of a tag.
    #[must_use]
    pub fn is(&self, key: &str) -> bool {
        self.0.eq_ignore_ascii_case(key)
    }

    /// The value of the tag of this key, among these tags of a role.
    pub fn find<'t>(&self, mut tags: impl Iterator<Item = (&'t str, &'t str)>) -> Option<&'t str> {
        tags.find(|(key, _)| self.is(key)).map(|(_, value)| value)
    }

    fn folded(&self) -> impl Iterator<Item = u8> {
        self.0.bytes().map(|byte| byte.to_ascii_lowercase())
    }
}

impl PartialEq for TagKey {
    fn eq(&self, other: &Self) -> bool {
        self.is(&other.0)
    }
}

impl Eq for TagKey {}

impl PartialOrd for TagKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for TagKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.folded().cmp(other.folded())
    }
}

/// The keys of the tags that any of these selectors asks for.
pub(crate) fn tag_keys<'a>(selectors: impl IntoIterator<Item = &'a Selector>) -> BTreeSet<TagKey> {
    selectors.into_iter().flat_map(|selector| selector.tags.keys().cloned()).collect()
}

/// `pathPrefix /fleet/, nameLike web-*, tag session-manager=enabled, exclude *-legacy`: since every part must match, this
/// is why a role is meant, too.
impl fmt::Display for Selector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.path_prefix.as_ref().map(|prefix| format!("pathPrefix {prefix}")));
        parts.extend(self.name_like.as_ref().map(|like| format!("nameLike {like}")));
        parts.extend(self.tags.iter().map(|(key, value)| format!("tag {key}={value}")));
        if !self.exclude.is_empty() {
            let excluded: Vec<&str> = self.exclude.iter().map(|like| like.0.as_str()).collect();
            parts.push(format!("exclude {}", excluded.join(" ")));
        }
        formatter.write_str(&parts.join(", "))
    }
}

/// As in the manifest.
impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(prefix) = &self.path_prefix {
            map.serialize_entry("pathPrefix", prefix)?;
        }
        if let Some(like) = &self.name_like {
            map.serialize_entry("nameLike", like)?;
        }
        if !self.tags.is_empty() {
            map.serialize_entry("tags", &self.tags)?;
        }
        if !self.exclude.is_empty() {
            map.serialize_entry("exclude", &self.exclude)?;
        }
        map.end()
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for TagKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// As the rest of a sentence about the role.
impl fmt::Display for Mismatch<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(prefix) => write!(formatter, "its path does not begin with pathPrefix {prefix}"),
            Self::Name(like) => write!(formatter, "its name is not like nameLike {like}"),
            Self::Excluded(like) => write!(formatter, "its name is like {like}, which exclude takes out"),
            Self::Tag(key, value) => write!(formatter, "it has no tag {key} of the value {value}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_compared_as_a_whole_and_without_case() {
        for (pattern, name, fits) in [
            ("web", "web", true),
            ("web", "WEB", true),
            ("WEB-*", "web-1", true),
            ("web", "web-1", false),
            ("web", "aweb", false),
            ("*", "anything", true),
            ("web-*", "web-", true),
            ("web-?", "web-", false),
            ("web-?", "web-1", true),
            ("web-?", "web-12", false),
            ("*-legacy", "web-legacy", true),
            ("*-legacy", "web-legacy-2", false),
            ("*a*b*c*", "xxaxxbxxcxx", true),
            ("*a*b*c*", "xxaxxcxxb", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*aab", "aaaab", true),
            ("***", "x", true),
            ("?*?", "x", false),
            ("", "x", false),
        ] {
            assert_eq!(NamePattern::new(pattern).fits(name), fits, "{pattern} {name}");
        }
    }

    /// What a pattern means, said in the plainest way.
    fn plainly(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => (0..=name.len()).any(|taken| plainly(rest, &name[taken..])),
            (Some((b'?', rest)), Some((_, after))) => plainly(rest, after),
            (Some((sign, rest)), Some((first, after))) => sign.eq_ignore_ascii_case(first) && plainly(rest, after),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn a_pattern_fits_what_its_plain_meaning_says(pattern in "[aAb*?]{0,8}", name in "[aAb]{0,10}") {
            prop_assert_eq!(NamePattern::new(&pattern).fits(&name), plainly(pattern.as_bytes(), name.as_bytes()));
        }
    }

    fn selector() -> Selector {
        Selector {
            path_prefix: Some("/fleet/".to_owned()),
            name_like: Some(NamePattern::new("web-*")),
            tags: [(TagKey::new("Session-Manager"), "enabled".to_owned()), (TagKey::new("tier"), String::new())].into(),
            exclude: vec![NamePattern::new("*-legacy"), NamePattern::new("web-0")],
        }
    }

    #[test]
    fn every_part_that_is_given_must_match() {
        let tags = [("session-manager", "enabled"), ("Tier", ""), ("other", "x")];
        for (name, path, tags, said) in [
            ("web-1", "/fleet/", &tags[..], None),
            ("WEB-1", "/fleet/below/", &tags[..], None),
            ("web-1", "/Fleet/", &tags[..], Some("its path does not begin with pathPrefix /fleet/")),
            ("web-1", "/", &tags[..], Some("its path does not begin with pathPrefix /fleet/")),
            ("batch-1", "/fleet/", &tags[..], Some("its name is not like nameLike web-*")),
            ("web-1-Legacy", "/fleet/", &tags[..], Some("its name is like *-legacy, which exclude takes out")),
            ("Web-0", "/fleet/", &tags[..], Some("its name is like web-0, which exclude takes out")),
            ("web-1", "/fleet/", &tags[..1], Some("it has no tag tier of the value ")),
            ("web-1", "/fleet/", &tags[1..], Some("it has no tag Session-Manager of the value enabled")),
            (
                "web-1",
                "/fleet/",
                &[("session-manager", "Enabled"), ("tier", "")],
                Some("it has no tag Session-Manager of the value enabled"),
            ),
        ] {
            let selector = selector();
            let tag = |key: &TagKey| key.find(tags.iter().copied());
            let found = selector.mismatch(name, path, tag).map(|mismatch| mismatch.to_string());
            assert_eq!(found.as_deref(), said, "{name} {path} {tags:?}");
        }
    }

    #[test]
    fn a_selector_in_words_holds_every_part_and_as_json_it_is_what_was_written() {
        assert_eq!(
            selector().to_string(),
            "pathPrefix /fleet/, nameLike web-*, tag Session-Manager=enabled, tag tier=, exclude *-legacy web-0"
        );
        assert_eq!(
            serde_json::to_string(&selector()).unwrap(),
            r#"{"pathPrefix":"/fleet/","nameLike":"web-*","tags":{"Session-Manager":"enabled","tier":""},"exclude":["*-legacy","web-0"]}"#
        );
    }

    #[test]
    fn keys_of_tags_are_one_whatever_their_case_is() {
        assert_eq!(TagKey::new("Team"), TagKey::new("team"));
        let keys = tag_keys([&selector(), &selector()]);
        assert_eq!(keys.len(), 2);
    }
}
