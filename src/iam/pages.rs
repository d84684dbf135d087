//! Following the markers of a listing to its end.
//!
//! Knows no SDK. What must stay true: a listing ends whole and in bounded time, or it is an error.

use std::collections::BTreeSet;

use super::IamError;

/// More pages than any listing of one call has that is asked for whole.
const MOST: usize = 10_000;

/// The pages of one listing so far.
#[derive(Debug)]
pub(crate) struct Pages {
    operation: &'static str,
    markers: BTreeSet<String>,
}

impl Pages {
    /// No page yet.
    pub(crate) fn of(operation: &'static str) -> Self {
        Self { operation, markers: BTreeSet::new() }
    }

    /// Where the next page begins; `None` at the end of the listing.
    pub(crate) fn next(&mut self, is_truncated: bool, marker: Option<String>) -> Result<Option<String>, IamError> {
        if !is_truncated {
            return Ok(None);
        }
        let partial = |why| Err(IamError::contradiction(self.operation, format!("{why}: the read is partial")));
        let Some(next) = marker.filter(|next| !next.is_empty()) else {
            return partial("a page says that there is more, but not where");
        };
        if self.markers.len() == MOST {
            return partial("there are too many pages");
        }
        if !self.markers.insert(next.clone()) {
            return partial("a page leads back to an earlier one");
        }
        Ok(Some(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_ends_whole_or_is_an_error() {
        let mut pages = Pages::of("SimulatePrincipalPolicy");
        assert_eq!(pages.next(true, Some("a".to_owned())), Ok(Some("a".to_owned())));
        for marker in [Some("a"), Some(""), None] {
            assert!(pages.next(true, marker.map(str::to_owned)).is_err(), "{marker:?}");
        }
        assert_eq!(pages.next(false, Some("a".to_owned())), Ok(None));
    }

    #[test]
    fn a_listing_has_an_end() {
        let mut pages = Pages::of("SimulatePrincipalPolicy");
        assert_eq!((0..).find(|page: &usize| pages.next(true, Some(page.to_string())).is_err()), Some(MOST));
    }
}
