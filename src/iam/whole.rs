//! Whether an answer came whole: the SDK's reader of XML takes the place where the text ends, or stops being XML, for the
//! end of the answer, and says nothing.
//!
//! Knows no operation. What must stay true: an answer that was cut off anywhere is an error, wherever the cut is.

use aws_sdk_iam::{
    config::{ConfigBag, Intercept, RuntimeComponents, interceptors::AfterDeserializationInterceptorContextRef},
    error::BoxError,
};

/// Refuses answers that are not whole, whatever the SDK made of them.
#[derive(Debug)]
pub(super) struct WholeAnswers;

impl Intercept for WholeAnswers {
    fn name(&self) -> &'static str {
        "WholeAnswers"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        // What is not a success is an error already. The answers used here are read into memory before they are parsed.
        let is_whole = !response.status().is_success() || response.body().bytes().is_some_and(is_whole);
        if is_whole { Ok(()) } else { Err("the answer does not end where its first element does".into()) }
    }
}

/// Whether the text is one XML element from its beginning to its end: what was cut off lacks the end tag of the first.
fn is_whole(body: &[u8]) -> bool {
    let mut rest = body.trim_ascii();
    while let Some(after) = rest.strip_prefix(b"<?") {
        let Some(end) = after.windows(2).position(|two| two == b"?>") else { return false };
        rest = after[end + 2..].trim_ascii();
    }
    let Some(named) = rest.strip_prefix(b"<") else { return false };
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b":_-.".contains(byte);
    let name = &named[..named.iter().position(|byte| !is_of_name(byte)).unwrap_or(named.len())];
    let end = [b"</", name, b">"].concat();
    let is_empty_element = rest.ends_with(b"/>") && rest.iter().filter(|byte| **byte == b'<').count() == 1;
    !name.is_empty() && (rest.ends_with(&end) || is_empty_element)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_cut_off_anywhere_is_not_whole() {
        let whole = b"<?xml version=\"1.0\"?>\n<A xmlns=\"x\"><B>1</B><C/></A>\n";
        assert!(is_whole(whole));
        for end in 0..whole.trim_ascii().len() {
            assert!(!is_whole(&whole[..end]), "{}", String::from_utf8_lossy(&whole[..end]));
        }
    }

    #[test]
    fn the_end_is_that_of_the_first_element() {
        for whole in ["<A/>", "<A></A>", "<a:B><C></C></a:B>", "<A><A></A></A>"] {
            assert!(is_whole(whole.as_bytes()), "{whole}");
        }
        for partial in ["", "A", "<>", "<A><B/>", "<A><B></B>", "<html>", "<A></B>", "</A>", "<?xml", "<A><AA></AA>"] {
            assert!(!is_whole(partial.as_bytes()), "{partial}");
        }
    }
}
