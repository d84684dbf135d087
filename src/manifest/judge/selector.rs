//! The sense of a selector: patterns that some role's name can fit, paths that roles can have, tags that can be carried.
//!
//! Knows what IAM admits as names, paths and tags. What must stay true: a selector that is let through asks for something,
//! and what can never match is a fault.

use std::{collections::BTreeMap, sync::Arc};

use super::{Judge, operator::path_prefix_fault};
use crate::{
    manifest::{
        fault::{KeyPath, shown},
        types::SelectorSpec,
    },
    selector::{NamePattern, Selector, TagKey},
};

impl Judge<'_> {
    /// A manifest that is about no role at all.
    pub(super) fn names_nothing(&mut self, spec: &KeyPath) {
        self.good = false;
        let is_out_of_shape = |key: &str| self.told_already.contains(&spec.key(key).to_string());
        if !is_out_of_shape("roles") && !is_out_of_shape("selector") {
            let hint = "add `roles: [NAME]`, or a `selector` with a `pathPrefix`, `nameLike` or `tags`";
            self.tell(spec, "this manifest has neither `roles` nor a `selector`", hint);
        }
    }

    pub(super) fn selector(&mut self, written: &SelectorSpec, path: &KeyPath) -> Option<Arc<Selector>> {
        let parts = ["pathPrefix", "nameLike", "tags"];
        let is_out_of_shape = parts.iter().any(|key| self.told_already.contains(&path.key(key).to_string()));
        let has_part = written.path_prefix.is_some() || written.name_like.is_some() || written.tags.is_some();
        if !has_part && !is_out_of_shape {
            let message = if written.exclude.is_empty() {
                "this selector is empty: it would pick every role of the account"
            } else {
                "this selector only excludes: it would pick every other role of the account"
            };
            self.tell(
                path,
                message,
                "add `pathPrefix`, `nameLike` or `tags`; where every role is meant, `nameLike: \"*\"`",
            );
        }
        let at_prefix = path.key("pathPrefix");
        let path_prefix = written
            .path_prefix
            .as_ref()
            .and_then(|text| self.unless(path_prefix_fault(text), text, "the beginning of a role's path", &at_prefix));
        let name_like = written.name_like.as_ref().and_then(|text| self.like(text, &path.key("nameLike")));
        let tags = written.tags.as_ref().map(|tags| self.tags(tags, &path.key("tags")));
        let at_exclude = path.key("exclude");
        let exclude = written.exclude.iter().enumerate();
        let exclude = exclude.filter_map(|(index, text)| self.like(text, &at_exclude.index(index))).collect();
        self.good.then(|| Arc::new(Selector { path_prefix, name_like, tags: tags.unwrap_or_default(), exclude }))
    }

    fn like(&mut self, text: &str, path: &KeyPath) -> Option<NamePattern> {
        self.unless(pattern_fault(text), text, "a pattern that the name of a role can fit", path)
            .map(|text| NamePattern::new(&text))
    }

    fn tags(&mut self, written: &BTreeMap<String, String>, path: &KeyPath) -> BTreeMap<TagKey, String> {
        let is_out_of_shape = self.told_already.iter().any(|told| told.starts_with(&path.to_string()));
        if written.is_empty() && !is_out_of_shape {
            self.tell(path, "no tag is named", "name one at least, or leave `tags` out");
        }
        let mut tags: BTreeMap<TagKey, String> = BTreeMap::new();
        for (key, value) in written {
            let path = path.key(key);
            if !is_of_tag(key, 1..=128) {
                let hint = "keys of tags have 1 to 128 letters, digits, spaces or any of _.:/=+-@, and no wildcards";
                self.tell(&path, format!("`{}` is not the key of a tag", shown(key)), hint);
            } else if !is_of_tag(value, 0..=256) {
                let hint =
                    "values have up to 256 letters, digits, spaces or any of _.:/=+-@, and are compared as a whole";
                self.tell(&path, format!("`{}` is not the value of a tag", shown(value)), hint);
            } else if tags.insert(TagKey::new(key), value.clone()).is_some() {
                let message = format!("the tag `{}` is given twice; IAM ignores the case of its key", shown(key));
                self.tell(&path, message, "keep one of the two");
            }
        }
        tags
    }
}

/// What speaks against every name that could fit, if something does.
fn pattern_fault(text: &str) -> Option<&'static str> {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-*?".contains(&byte);
    if text.starts_with("arn:") || text.contains('/') {
        return Some("write what the role's name alone is like, without path and ARN; a path goes into `pathPrefix`");
    }
    if text.is_empty() || text.len() > 128 || !text.bytes().all(is_of_name) {
        return Some("letters, digits or any of _+=,.@-, with `*` for any characters and `?` for one");
    }
    (text.bytes().filter(|byte| *byte != b'*').count() > 64).then_some("role names have 64 characters at most")
}

/// Whether a text can be the key or the value of a tag (IAM API Reference, `Tag`).
fn is_of_tag(text: &str, lengths: std::ops::RangeInclusive<usize>) -> bool {
    let may_stand =
        |sign: char| sign.is_alphanumeric() || sign.is_whitespace() && !sign.is_control() || "_.:/=+-@".contains(sign);
    lengths.contains(&text.chars().count()) && text.chars().all(may_stand)
}
