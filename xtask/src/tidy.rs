//! Rules of the house that a program can check. Each rule is a function from the tree to its findings, with a
//! test that shows it a violation.

mod edges;
mod layout;
mod links;
mod names;
mod sizes;
mod text;
mod tree;

use std::fmt;

use anyhow::{Result, bail};

use self::tree::Tree;
use crate::checkout::Checkout;

/// What a rule found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    /// A path in the tree, with a line where that helps.
    place: String,
    what: String,
    /// Fails the check. Otherwise it is only said.
    wrong: bool,
}

impl Finding {
    fn wrong(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into(), wrong: true }
    }

    fn warning(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into(), wrong: false }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = if self.wrong { "error" } else { "warning" };
        write!(f, "{level}: {}: {}", self.place, self.what)
    }
}

pub(crate) fn command(checkout: &Checkout) -> Result<()> {
    let findings = check(&Tree::read(checkout)?);
    for finding in &findings {
        println!("{finding}");
    }
    match findings.iter().filter(|finding| finding.wrong).count() {
        0 => Ok(()),
        wrong => bail!("{wrong} rules of the house are broken"),
    }
}

fn check(tree: &Tree) -> Vec<Finding> {
    [edges::check, layout::check, links::check, names::check, sizes::check, text::check]
        .iter()
        .flat_map(|rule| rule(tree))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_tree_keeps_the_rules_of_the_house() {
        let tree = Tree::read(&Checkout::find().unwrap()).unwrap();
        assert!(tree.packages.len() > 10, "the workspace was not read: {:?}", tree.packages);
        let wrong: Vec<_> =
            check(&tree).into_iter().filter(|finding| finding.wrong).map(|f| f.to_string()).collect();
        assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    }
}
