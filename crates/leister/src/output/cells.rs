//! Values as cells of a table.

use jiff::Timestamp;
use model::Bytes;

pub(super) const NONE: &str = "-";

pub(super) fn size(bytes: u64) -> String {
    Bytes::new(bytes).to_string()
}

pub(super) fn maybe_size(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| NONE.to_owned(), size)
}

pub(super) fn maybe(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or(NONE).to_owned()
}

pub(super) fn list<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> String {
    let joined = items.into_iter().fold(String::new(), |mut joined, item| {
        if !joined.is_empty() {
            joined.push(',');
        }
        joined.push_str(item.as_ref());
        joined
    });
    maybe(Some(&joined))
}

/// `5s`, `3m`, `2h`, `4d`: the largest unit that is not zero.
pub(super) fn age(since: Timestamp) -> String {
    span(Timestamp::now().duration_since(since).as_secs())
}

pub(super) fn span(seconds: i64) -> String {
    match seconds.max(0) {
        s @ 0..60 => format!("{s}s"),
        s @ 60..3600 => format!("{}m", s / 60),
        s @ 3600..86400 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_shows_its_largest_unit() {
        for (seconds, text) in
            [(-3, "0s"), (59, "59s"), (60, "1m"), (7199, "1h"), (86_400, "1d"), (900_000, "10d")]
        {
            assert_eq!(span(seconds), text);
        }
    }

    #[test]
    fn what_is_not_there_is_a_dash() {
        assert_eq!(list(Vec::<String>::new()), "-");
        assert_eq!(list(["a", "b"]), "a,b");
        assert_eq!(maybe_size(None), "-");
        assert_eq!(size(20 << 30), "20GiB");
    }
}
