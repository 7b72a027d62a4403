//! Lists page by page. A token names the last entry of its page, so it stays good whatever comes and goes.

use tonic::Status;

const PREFIX: &str = "after/";

/// Where a page begins, and how long it may be.
#[derive(Debug)]
pub(crate) struct Page {
    /// The last entry of the page before.
    pub(crate) after: Option<String>,
    limit: usize,
}

impl Page {
    /// # Errors
    /// A number below zero; `ABORTED` for a token that is none of ours, as the protocol wants it.
    pub(crate) fn read(max_entries: i32, token: &str) -> Result<Page, Status> {
        let limit = match usize::try_from(max_entries) {
            Ok(0) => usize::MAX,
            Ok(limit) => limit,
            Err(_) => {
                return Err(Status::invalid_argument(format!("max_entries `{max_entries}` is below zero")));
            }
        };
        if token.is_empty() {
            return Ok(Page { after: None, limit });
        }
        let after = token.strip_prefix(PREFIX).filter(|after| !after.is_empty());
        let after = after.ok_or_else(|| bad(token))?;
        Ok(Page { after: Some(after.to_owned()), limit })
    }

    /// As many entries as fit, and the token of the next page if there is one.
    pub(crate) fn fill<T>(
        &self,
        entries: impl Iterator<Item = T>,
        name: impl Fn(&T) -> String,
    ) -> (Vec<T>, String) {
        let mut entries = entries.peekable();
        let page: Vec<T> = entries.by_ref().take(self.limit).collect();
        let token = match (entries.peek(), page.last()) {
            (Some(_), Some(last)) => format!("{PREFIX}{}", name(last)),
            _ => String::new(),
        };
        (page, token)
    }
}

pub(crate) fn bad(token: &str) -> Status {
    Status::aborted(format!("starting_token `{token}` is not one of ours; begin again without"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_one_another_and_the_last_has_no_token() {
        let all = ["a", "b", "c"];
        let page = Page::read(2, "").unwrap();
        let (entries, token) = page.fill(all.iter(), |name| (**name).to_owned());
        assert_eq!((entries.len(), token.as_str()), (2, "after/b"));
        let page = Page::read(2, &token).unwrap();
        let rest = all.iter().filter(|name| Some(**name) > page.after.as_deref());
        let (entries, token) = page.fill(rest, |name| (**name).to_owned());
        assert_eq!((entries, token.as_str()), (vec![&"c"], ""));
    }

    #[test]
    fn a_strange_token_is_aborted_and_a_strange_number_refused() {
        for token in ["invalid", "after/", "after"] {
            assert_eq!(Page::read(0, token).unwrap_err().code(), tonic::Code::Aborted, "{token}");
        }
        assert_eq!(Page::read(-1, "").unwrap_err().code(), tonic::Code::InvalidArgument);
    }
}
