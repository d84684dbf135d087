//! Which of several processes keeps an account.
//!
//! Knows ids and numbers alone: processes do not talk to each other. What must stay true: the same id and the same number
//! of shards give the same shard in every process and in every version of the program, and each account is of one shard.

use std::{fmt, str::FromStr};

use crate::names::AccountId;

/// One of several equal shares of all accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    index: u32,
    count: u32,
}

impl Shard {
    /// Whether the account is of this share.
    #[must_use]
    pub fn holds(self, account: &AccountId) -> bool {
        share_of(account, self.count) == self.index
    }
}

/// The share of an account among `count`, from 0 on. Where their number grows by one, only those accounts move that the new
/// share takes.
///
/// Source: Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm" (2014), over the FNV-1a hash of the id.
fn share_of(account: &AccountId, count: u32) -> u32 {
    let mut state = account
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let (mut share, mut next) = (0, 0);
    while next < u64::from(count) {
        share = next;
        state = state.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        // The numbers are far below 2⁵³: nothing is lost.
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        {
            next = ((share + 1) as f64 * ((1_u64 << 31) as f64 / ((state >> 33) + 1) as f64)) as u64;
        }
    }
    u32::try_from(share).unwrap_or_default()
}

/// A number that is the account's own: FNV-1a, of the id's digits.
pub(super) fn hash(account: &AccountId) -> u64 {
    account
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// `I/N`: the I-th of N shares, from 0 on. I may be the name of a pod of a StatefulSet, which ends with its ordinal:
/// `keeper-2/3` is `2/3`.
impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong =
            || format!("`{text}` is not I/N, as 0/3: the first of three (or POD/3, where the pod's name ends with -0)");
        let (index, count) = text.split_once('/').ok_or_else(wrong)?;
        let index = index.rsplit('-').next().unwrap_or(index);
        let number =
            |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten();
        let (index, count): (u32, u32) = number(index).zip(number(count)).ok_or_else(wrong)?;
        if index >= count {
            return Err(format!("there is no shard {index} of {count}: they are counted from 0 on"));
        }
        Ok(Self { index, count })
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> impl Iterator<Item = AccountId> {
        (0..5_000_u64).map(|number| format!("{:012}", 100_000_000_007 + number * 7_919).parse().unwrap())
    }

    #[test]
    fn each_account_is_of_exactly_one_shard_and_the_shares_are_about_equal() {
        for count in [1, 2, 3, 7, 16] {
            let mut sizes = vec![0_u32; count as usize];
            for account in accounts() {
                let holding = (0..count).filter(|index| Shard { index: *index, count }.holds(&account));
                let holding: Vec<u32> = holding.collect();
                assert_eq!(holding.len(), 1, "{account}");
                sizes[holding[0] as usize] += 1;
            }
            let fair = 5_000 / count;
            assert!(sizes.iter().all(|size| size.abs_diff(fair) <= fair / 4 + 1), "{sizes:?}");
        }
    }

    #[test]
    fn one_shard_more_takes_its_share_and_moves_nothing_else() {
        for count in 1..12 {
            let moved: Vec<(u32, u32)> = accounts()
                .map(|account| (share_of(&account, count), share_of(&account, count + 1)))
                .filter(|(before, after)| before != after)
                .collect();
            assert!(moved.iter().all(|(_, after)| *after == count), "only to the new one");
            let fair = 5_000 / (count as usize + 1);
            assert!(moved.len().abs_diff(fair) <= fair / 4 + 1, "{} of 5000 at {count}", moved.len());
        }
    }

    #[test]
    fn the_shard_of_an_account_never_changes_from_one_version_to_the_next() {
        let of = |account: &str| [2, 3, 5, 100].map(|count| share_of(&account.parse().unwrap(), count));
        insta::assert_debug_snapshot!(
            ["111122223333", "444455556666", "012345678901"].map(|account| (account, of(account)))
        );
    }

    #[test]
    fn a_shard_is_written_as_its_number_or_as_the_name_of_a_pod_that_ends_with_it() {
        for (text, shard) in
            [("0/1", "0/1"), ("2/3", "2/3"), ("keeper-2/3", "2/3"), ("ssm-role-controller-0/16", "0/16")]
        {
            assert_eq!(text.parse::<Shard>().unwrap().to_string(), shard);
        }
        for text in ["", "1", "/", "3/3", "keeper/3", "-1/3x", "1/0", "a/b", "1/3/4", "+1/3", "1/99999999999", "1/ 3"] {
            text.parse::<Shard>().unwrap_err();
        }
    }
}
