//! IAM's wildcard patterns: which strings one admits, and whether it admits all or any of another's.
//!
//! Knows `*`, `?` and policy variables, and not what the text stands for. What must stay true: [`Pattern::covers`]
//! never says yes where some string of the other pattern is not admitted; where it cannot tell, it says no.
//! Both questions cost at most the product of the two lengths, whatever the patterns hold.
//!
//! Sources: IAM User Guide, "IAM JSON policy elements: Action", "IAM JSON policy elements: Resource", "IAM policy
//! elements: Variables and tags".

use std::borrow::Cow;

#[cfg(test)]
mod tests;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Literal(char),
    /// A policy variable, by the text between its braces: it stands for a string that only IAM knows.
    Variable(Box<str>),
    /// `?`: exactly one character.
    One(Span),
    /// `*`: any characters, or none.
    Many(Span),
}

/// What a wildcard may stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Span {
    /// Anything.
    All,
    /// Anything but `:`: what stands in one part of an ARN.
    Part,
}

/// A pattern, read into tokens; equal patterns admit the same strings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern(Box<[Token]>);

impl Pattern {
    /// An action pattern: case does not matter, and `${` means nothing ("Where you can use policy variables").
    pub(super) fn action(text: &str) -> Self {
        Self(tokens(&text.to_ascii_lowercase(), false, true))
    }

    /// A resource pattern: case matters. Policy variables exist where the document's Version has them.
    pub(super) fn resource(text: &str, variables: bool) -> Self {
        Self(tokens(text, variables, true))
    }

    /// A text in which `*` and `?` are characters like any other, and `${…}` may be a variable.
    pub(super) fn text(text: &str, variables: bool) -> Self {
        Self(tokens(text, variables, false))
    }

    /// A pattern of the resources that are asked about: what a wildcard of it stands for holds no colon (a Region, an
    /// id).
    pub(super) fn within(arn: &str) -> Self {
        Self(tokens(arn, false, true).iter().map(Token::in_a_part).collect())
    }

    /// The same, but that in the last of the six parts of an ARN a wildcard stands for anything (an object's key).
    pub(super) fn below(arn: &str) -> Self {
        let mut colons = 0;
        let tokens = tokens(arn, false, true);
        let bounded = tokens.iter().map(|token| {
            colons += usize::from(*token == COLON);
            if colons < 5 { token.in_a_part() } else { token.clone() }
        });
        Self(bounded.collect())
    }

    /// The same with every wildcard kept from colons that stands inside one of the first five parts of an ARN; none where
    /// no wildcard does. A `*` that ends its part may run on beyond it.
    pub(super) fn kept_in_parts(&self) -> Option<Self> {
        let mut colons = 0;
        let kept = self.0.iter().enumerate().map(|(index, token)| {
            colons += usize::from(*token == COLON);
            let ends_its_part = self.0.get(index + 1).is_none_or(|next| *next == COLON);
            if colons < 5 && !(ends_its_part && token.is_elastic()) { token.in_a_part() } else { token.clone() }
        });
        let kept = Self(kept.collect());
        (kept != *self).then_some(kept)
    }

    /// Whether every string is admitted.
    pub(super) fn is_everything(&self) -> bool {
        matches!(*self.0, [Token::Many(Span::All)])
    }

    /// Whether exactly one string is admitted.
    pub(super) fn is_plain(&self) -> bool {
        self.0.iter().all(|token| matches!(token, Token::Literal(_)))
    }

    /// The one string that is admitted, where it is exactly one.
    pub(super) fn plain_text(&self) -> Option<String> {
        let literal = |token: &Token| match token {
            Token::Literal(character) => Some(*character),
            Token::Variable(_) | Token::One(_) | Token::Many(_) => None,
        };
        self.0.iter().map(literal).collect()
    }

    /// Its variables, each as the text between its braces.
    pub(super) fn variables(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|token| match token {
            Token::Variable(name) => Some(&**name),
            Token::Literal(_) | Token::One(_) | Token::Many(_) => None,
        })
    }

    /// The pattern with plain text in the place of each variable that `value` knows; the others stay.
    pub(super) fn with(&self, value: impl Fn(&str) -> Option<Box<str>>) -> Self {
        let mut tokens = Vec::with_capacity(self.0.len());
        for token in &self.0 {
            match token {
                Token::Variable(name) => match value(name) {
                    Some(text) => tokens.extend(text.chars().map(Token::Literal)),
                    None => tokens.push(token.clone()),
                },
                Token::Literal(_) | Token::One(_) | Token::Many(_) => tokens.push(token.clone()),
            }
        }
        Self(tokens.into())
    }

    /// The same for texts whose case does not matter: its letters in lower case.
    pub(super) fn lowercased(&self) -> Self {
        let lowercased = self.0.iter().map(|token| match token {
            Token::Literal(character) => Token::Literal(character.to_ascii_lowercase()),
            Token::Variable(_) | Token::One(_) | Token::Many(_) => token.clone(),
        });
        Self(lowercased.collect())
    }

    /// What stands between the first colons, in at most `count` parts: the last one holds the rest.
    pub(super) fn parts(&self, count: usize) -> impl Iterator<Item = Self> {
        self.0.splitn(count, |token| *token == COLON).map(|part| Self(part.into()))
    }

    /// Whether every string that `other` admits is admitted here too.
    ///
    /// A variable of `other` may be anything, so only `*` or the same variable stands for it; one of ours is
    /// unknown, so it covers nothing but itself.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.0, &other.0);
        let (mut at, mut reached) = (0, 0);
        // The last `*` that was passed, and what it has swallowed: the leftmost fit is always the best one,
        // so no earlier `*` need ever be tried again. That keeps this from being exponential.
        let mut retry = None;
        while let Some(token) = theirs.get(reached) {
            match ours.get(at) {
                // At the end it stands for all the rest.
                Some(Token::Many(Span::All)) if at + 1 == ours.len() => return true,
                Some(Token::Many(span)) => {
                    at += 1;
                    retry = Some((at, reached, *span));
                }
                Some(wanted) if wanted.stands_for(token) => {
                    at += 1;
                    reached += 1;
                }
                _ => {
                    let Some((after_star, swallowed, span)) = retry else { return false };
                    if !span.holds(&theirs[swallowed]) {
                        return false;
                    }
                    retry = Some((after_star, swallowed + 1, span));
                    (at, reached) = (after_star, swallowed + 1);
                }
            }
        }
        ours.iter().skip(at).all(|token| matches!(token, Token::Many(_)))
    }

    /// Whether some string might be admitted by both; a variable might be anything.
    pub(super) fn intersects(&self, other: &Self) -> bool {
        let (mut ours, mut theirs) = (&*self.0, &*other.0);
        // What both spell out at their beginnings and at their ends needs no search.
        while let ([one @ Token::Literal(_), our_rest @ ..], [other @ Token::Literal(_), their_rest @ ..]) =
            (ours, theirs)
        {
            if one != other {
                return false;
            }
            (ours, theirs) = (our_rest, their_rest);
        }
        while let ([our_rest @ .., one @ Token::Literal(_)], [their_rest @ .., other @ Token::Literal(_)]) =
            (ours, theirs)
        {
            if one != other {
                return false;
            }
            (ours, theirs) = (our_rest, their_rest);
        }
        // `row[j]`: some string is admitted by our tokens so far and by the first `j` of theirs.
        let mut row = vec![false; theirs.len() + 1];
        row[0] = true;
        for index in 0..=ours.len() {
            let token = ours.get(index);
            let mut next = vec![false; theirs.len() + 1];
            for reached in 0..=theirs.len() {
                if !row[reached] {
                    continue;
                }
                let met = theirs.get(reached);
                // One that may stand for nothing is passed over; one that stretches swallows the other's next token.
                if met.is_some_and(|met| met.is_elastic() || token.is_some_and(|token| token.may_swallow(met))) {
                    row[reached + 1] = true;
                }
                if token.is_some_and(|token| token.is_elastic() || met.is_some_and(|met| met.may_swallow(token))) {
                    next[reached] = true;
                }
                if let (Some(token), Some(met)) = (token, met)
                    && (token.stands_for(met) || met.stands_for(token))
                {
                    next[reached + 1] = true;
                }
            }
            if index == ours.len() {
                return row[theirs.len()];
            }
            if !next.contains(&true) {
                return false;
            }
            row = next;
        }
        false
    }
}

const COLON: Token = Token::Literal(':');

impl Token {
    /// Whether this token alone admits all that the single token `other` does.
    fn stands_for(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::One(span), Self::Literal(_) | Self::One(_)) => span.holds(other),
            (Self::Literal(_), Self::Literal(_)) | (Self::Variable(_), Self::Variable(_)) => self == other,
            _ => false,
        }
    }

    /// Whether nothing at all may stand here.
    fn is_elastic(&self) -> bool {
        matches!(self, Self::Many(_) | Self::Variable(_))
    }

    /// Whether what stands here may hold something that `other` admits.
    fn may_swallow(&self, other: &Self) -> bool {
        match self {
            Self::Many(Span::All) | Self::Variable(_) => true,
            Self::Many(Span::Part) => *other != COLON,
            Self::Literal(_) | Self::One(_) => false,
        }
    }

    /// The same kept from colons.
    fn in_a_part(&self) -> Self {
        match self {
            Self::One(_) => Self::One(Span::Part),
            Self::Many(_) => Self::Many(Span::Part),
            Self::Literal(_) | Self::Variable(_) => self.clone(),
        }
    }
}

impl Span {
    /// Whether all that a token admits may stand here.
    fn holds(self, token: &Token) -> bool {
        match (self, token) {
            (Self::All, _) | (Self::Part, Token::One(Self::Part) | Token::Many(Self::Part)) => true,
            (Self::Part, Token::Literal(character)) => *character != ':',
            (Self::Part, Token::One(Self::All) | Token::Many(Self::All) | Token::Variable(_)) => false,
        }
    }
}

/// The text with its runs of wildcards in one order (`**` is `*`, `*?` is `?*`), for showing and comparing.
/// Text with a `${` is left as it is: what it means depends on the document's Version.
pub(super) fn tidy(text: &str) -> Cow<'_, str> {
    if !(text.contains("**") || text.contains("*?")) || text.contains("${") {
        return Cow::Borrowed(text);
    }
    let mut tidied = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(['*', '?']) {
        tidied.push_str(&rest[..start]);
        let run_and_more = &rest[start..];
        let length = run_and_more.find(|c| !matches!(c, '*' | '?')).unwrap_or(run_and_more.len());
        let run = &run_and_more[..length];
        tidied.extend(run.chars().filter(|c| *c == '?'));
        if run.contains('*') {
            tidied.push('*');
        }
        rest = &run_and_more[length..];
    }
    tidied.push_str(rest);
    Cow::Owned(tidied)
}

/// Reads the tokens. A run of wildcards becomes one normal form: where it holds a `*`, every `?` stands between two of
/// them (`*?*`), since such a run asks for "at least so many characters", wherever the other pattern has them.
fn tokens(text: &str, variables: bool, wildcards: bool) -> Box<[Token]> {
    let mut tokens = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if variables && let Some((name, after)) = rest.strip_prefix("${").and_then(|inner| inner.split_once('}')) {
            tokens.push(match name {
                "*" => Token::Literal('*'),
                "?" => Token::Literal('?'),
                "$" => Token::Literal('$'),
                name => Token::Variable(name.into()),
            });
            rest = after;
        } else if wildcards && matches!(first, '*' | '?') {
            let length = rest.find(|c| !matches!(c, '*' | '?')).unwrap_or(rest.len());
            let (run, after) = rest.split_at(length);
            let elastic = run.contains('*');
            if elastic {
                tokens.push(Token::Many(Span::All));
            }
            for _ in run.chars().filter(|c| *c == '?') {
                tokens.push(Token::One(Span::All));
                if elastic {
                    tokens.push(Token::Many(Span::All));
                }
            }
            rest = after;
        } else {
            tokens.push(Token::Literal(first));
            rest = &rest[first.len_utf8()..];
        }
    }
    tokens.into()
}
