//! Users who stay on one revision.
//!
//! A user's key is hashed to a ticket, as if they had drawn it, and the shares decide as they do for everybody: the first one's
//! range begins at 0, so that raising it only adds users and lowering it only removes them. Nothing is remembered, and every
//! proxy that knows the salt says the same.
//!
//! A cookie is issued to who has none. They have drawn a ticket from the split's exact sequence, and their second request must
//! not say otherwise: the key that they are given is the preimage of that very ticket, under a mix that has an inverse. So a
//! cookie of 16 hexadecimal digits is mixed, and any other is hashed.
//!
//! Deliberately absent: secrecy. Who makes up a key chooses their revision, which a header route would let them do as well.

use std::net::IpAddr;

use http::header::{COOKIE, HeaderMap, HeaderValue, SET_COOKIE};
use watershed_config::model::Sticky;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::split::{MIX_1, MIX_2, mix};

/// The ticket of the user that a request names; `None` if it names nobody.
pub fn ticket(by: &Sticky, salt: u64, headers: &HeaderMap, client: IpAddr) -> Option<u64> {
    match by {
        Sticky::Header(name) => {
            let value = headers.get(name)?.as_bytes();
            (!value.is_empty()).then(|| hashed(value, salt))
        }
        Sticky::Cookie(name) => {
            let value = cookie(headers, name)?;
            Some(issued(value).map_or_else(|| hashed(value, salt), |key| ticket_of(key, salt)))
        }
        Sticky::ClientAddress => Some(match client.to_canonical() {
            IpAddr::V4(ip) => hashed(&ip.octets(), salt),
            IpAddr::V6(ip) => hashed(&ip.octets(), salt),
        }),
    }
}

fn hashed(key: &[u8], salt: u64) -> u64 {
    xxh3_64_with_seed(key, salt)
}

/// The ticket of an issued key.
pub fn ticket_of(key: u64, salt: u64) -> u64 {
    mix(key ^ salt)
}

/// The key to issue to who has drawn this ticket: the inverse of [`ticket_of`].
pub fn key_of(ticket: u64, salt: u64) -> u64 {
    unmix(ticket) ^ salt
}

/// Undoes [`mix`]: a shift by more than a third of the word is undone by itself and its double, a multiplication by the inverse.
fn unmix(mut z: u64) -> u64 {
    z = (z ^ (z >> 31) ^ (z >> 62)).wrapping_mul(const { inverse(MIX_2) });
    z = (z ^ (z >> 27) ^ (z >> 54)).wrapping_mul(const { inverse(MIX_1) });
    z ^ (z >> 30) ^ (z >> 60)
}

/// The inverse of an odd number modulo 2^64, by Newton's iteration: an odd number is its own inverse in the lowest 3 bits, and
/// every round doubles them.
const fn inverse(odd: u64) -> u64 {
    let (mut inverse, mut bits) = (odd, 3);
    while bits < u64::BITS {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(inverse)));
        bits *= 2;
    }
    inverse
}

/// The first value of a cookie that is not empty.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let lines = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    let pairs = lines.flat_map(|line| line.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
    pairs.filter_map(|pair| value_of(pair, name)).find(|value| !value.is_empty())
}

/// The value if this is `name=value`.
fn value_of<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

/// The key if this is what [`issue`] writes: 16 hexadecimal digits.
fn issued(value: &[u8]) -> Option<u64> {
    let text = str::from_utf8(value).ok().filter(|text| text.len() == 16)?;
    let digits = text.bytes().all(|digit| digit.is_ascii_hexdigit());
    if digits { u64::from_str_radix(text, 16).ok() } else { None }
}

/// Sets the cookie in an answer, unless the pod has set it itself: its value is the application's then, and will do as well.
pub(crate) fn issue(headers: &mut HeaderMap, name: &str, key: u64) {
    let by_pod = headers.get_all(SET_COOKIE).iter().any(|line| value_of(line.as_bytes(), name).is_some());
    if by_pod {
        return;
    }
    // The name was validated as a token, so that this is one.
    if let Ok(line) = HeaderValue::try_from(format!("{name}={key:016x}; Path=/; HttpOnly; SameSite=Lax")) {
        headers.append(SET_COOKIE, line);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use watershed_config::model::Sticky;

    use super::*;
    use crate::split::{SplitState, Thresholds};

    fn user_header() -> Sticky {
        Sticky::Header(http::HeaderName::from_static("x-user"))
    }

    fn with(name: &str, lines: &[&str]) -> HeaderMap {
        let name: http::HeaderName = name.parse().unwrap();
        lines.iter().map(|line| (name.clone(), HeaderValue::from_str(line).unwrap())).collect()
    }

    fn nobody() -> IpAddr {
        IpAddr::from([127, 0, 0, 1])
    }

    /// Canary and stable.
    fn shares(canary: u32) -> Thresholds {
        Thresholds::new(&[canary, 1_000_000 - canary]).unwrap()
    }

    proptest! {
        #[test]
        fn the_mix_and_its_inverse_undo_each_other(number: u64, salt: u64) {
            prop_assert_eq!(unmix(mix(number)), number);
            prop_assert_eq!(mix(unmix(number)), number);
            prop_assert_eq!(ticket_of(key_of(number, salt), salt), number);
            prop_assert_eq!(key_of(ticket_of(number, salt), salt), number);
        }

        #[test]
        fn raising_the_weight_only_adds_users(
            user in "[ -~]{1,40}", salt: u64, low in 0u32..=1_000_000, high in 0u32..=1_000_000,
        ) {
            prop_assume!(!user.trim().is_empty());
            let (low, high) = (low.min(high), low.max(high));
            let ticket = ticket(&user_header(), salt, &with("x-user", &[&user]), nobody()).unwrap();
            prop_assert!(shares(low).pick(ticket) >= shares(high).pick(ticket), "left the canary");
            prop_assert_eq!(shares(0).pick(ticket), 1);
            prop_assert_eq!(shares(1_000_000).pick(ticket), 0);
        }

        #[test]
        fn an_issued_cookie_maps_to_the_ticket_that_was_drawn(seed: u64, salt: u64, draws in 1usize..20) {
            let mut random = fastrand::Rng::with_seed(seed);
            let state = SplitState::new(1, || random.u64(..));
            for _ in 0..draws {
                let drawn = state.draw(0);
                let mut answer = HeaderMap::new();
                issue(&mut answer, "ws", key_of(drawn, salt));
                let line = answer[SET_COOKIE].to_str().unwrap();
                let (pair, attributes) = line.split_once(';').unwrap();
                prop_assert_eq!(attributes, " Path=/; HttpOnly; SameSite=Lax");
                prop_assert_eq!(pair.len(), "ws=".len() + 16);
                let sent = with("cookie", &["a=b", &format!("c=d; {pair};e")]);
                prop_assert_eq!(ticket(&Sticky::Cookie("ws".into()), salt, &sent, nobody()), Some(drawn));
            }
        }

        #[test]
        fn whatever_stands_in_a_cookie_header_is_harmless(line in "[!-~ ;=]{0,40}", name in "[a-z]{1,3}", salt: u64) {
            let sent = with("cookie", &[&line]);
            let found = ticket(&Sticky::Cookie(name.as_str().into()), salt, &sent, nobody());
            let by_hand = line.split(';').filter_map(|pair| pair.trim().strip_prefix(&format!("{name}=")));
            prop_assert_eq!(found.is_some(), by_hand.into_iter().any(|value| !value.is_empty()), "{:?}", line);
        }
    }

    /// Within three standard deviations of a binomial draw.
    #[track_caller]
    fn assert_share(what: &str, count: usize, of: usize, share: f64) {
        let (wanted, all) = (share * of as f64, of as f64);
        let deviation = (all * share * (1.0 - share)).sqrt();
        let off = (count as f64 - wanted).abs();
        assert!(off <= 3.0 * deviation, "{what}: {count} of {of} instead of {wanted}");
    }

    #[test]
    fn of_many_users_each_share_gets_its_part_and_salts_mix_them_anew() {
        const USERS: usize = 20_000;
        for canary in [10_000u32, 100_000, 500_000] {
            let share = f64::from(canary) / 1e6;
            let hit = |salt: u64, by: &Sticky, user: usize| {
                let headers = match by {
                    Sticky::Cookie(_) => with("cookie", &[&format!("ws=session-{user}")]),
                    _ => with("x-user", &[&user.to_string()]),
                };
                let address = IpAddr::from([10, (user >> 16) as u8, (user >> 8) as u8, user as u8]);
                shares(canary).pick(ticket(by, salt, &headers, address).unwrap()) == 0
            };
            for by in [user_header(), Sticky::Cookie("ws".into()), Sticky::ClientAddress] {
                let count = (0..USERS).filter(|user| hit(1, &by, *user)).count();
                assert_share(&format!("{by:?} at {share}"), count, USERS, share);
                let both = (0..USERS).filter(|user| hit(1, &by, *user) && hit(2, &by, *user)).count();
                assert_share(&format!("{by:?} under both salts at {share}"), both, USERS, share * share);
            }
        }
    }

    #[test]
    fn keys_that_count_up_are_spread_as_if_they_were_drawn() {
        // Somebody else's counter in 16 digits, taken for an issued key.
        let count = (0..20_000u64).filter(|key| shares(100_000).pick(ticket_of(*key, 7)) == 0).count();
        assert_share("keys that count up", count, 20_000, 0.1);
    }

    #[test]
    fn what_names_nobody_is_not_a_user() {
        let cookie = Sticky::Cookie("ws".into());
        for lines in [&[][..], &[""], &["ws="], &["wsx=1"], &["xws=1"], &["ws"], &["a=ws=1"], &["; ;=;"]] {
            assert_eq!(ticket(&cookie, 1, &with("cookie", lines), nobody()), None, "{lines:?}");
        }
        assert_eq!(ticket(&user_header(), 1, &HeaderMap::new(), nobody()), None);
        assert_eq!(ticket(&user_header(), 1, &with("x-user", &[""]), nobody()), None);
    }

    #[test]
    fn a_cookie_that_was_not_issued_is_hashed() {
        let of = |value: &str| {
            ticket(&Sticky::Cookie("ws".into()), 1, &with("cookie", &[&format!("ws={value}")]), nobody())
        };
        assert_eq!(of("00000000000000ff"), Some(ticket_of(255, 1)));
        assert_eq!(of("00000000000000FF"), Some(ticket_of(255, 1)));
        for value in ["00000000000000f", "00000000000000fff", "+0000000000000ff", "00000000000000fg"] {
            assert_eq!(of(value), Some(hashed(value.as_bytes(), 1)), "{value}");
        }
    }

    #[test]
    fn an_address_of_version_4_is_the_same_however_it_is_written() {
        let of =
            |address: &str| ticket(&Sticky::ClientAddress, 1, &HeaderMap::new(), address.parse().unwrap());
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.2"), of("10.0.0.1"));
    }

    #[test]
    fn a_cookie_that_the_pod_sets_itself_is_left_alone() {
        let mut answer = with("set-cookie", &["other=1", "ws=session; Path=/"]);
        issue(&mut answer, "ws", 1);
        assert_eq!(answer.get_all(SET_COOKIE).iter().count(), 2);
        issue(&mut answer, "w", 1);
        assert_eq!(answer.get_all(SET_COOKIE).iter().count(), 3);
    }
}
