/// The known word that is most like `word`, for "unknown X, did you mean Y".
///
/// # Behavior
/// Compares without case; `None` when nothing known is close.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&word, &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_and_nonsense_is_not() {
        let known = ["size", "fromSnapshot", "provisioningType"];
        assert_eq!(nearest("siez", known), Some("size"));
        assert_eq!(nearest("FROMSNAP", known), Some("fromSnapshot"));
        assert_eq!(nearest("qqq", known), None);
    }
}
