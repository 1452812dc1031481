//! What fuzzing tries: for each kind of bytes that come from outside a function that must neither panic nor
//! break what it asserts, whatever it is given. Only in tests and in the fuzz targets of `tests/fuzz`, which
//! call the same functions; every input that was ever worth keeping is tried by an ordinary test here.

pub use crate::message::fuzz::decode;
pub use crate::provider::fuzz::{
    cloudipsp_capture, cloudipsp_lookup, flex_pay_capture, flex_pay_lookup, flex_pay_token, signature,
};
pub use crate::settings::fuzz::settings;

/// Tries one input.
pub type Target = fn(&[u8]);

/// Every target by its name, which is that of its corpus too.
pub const TARGETS: [(&str, Target); 8] = [
    ("decode", decode),
    ("cloudipsp_capture", cloudipsp_capture),
    ("cloudipsp_lookup", cloudipsp_lookup),
    ("flex_pay_capture", flex_pay_capture),
    ("flex_pay_lookup", flex_pay_lookup),
    ("flex_pay_token", flex_pay_token),
    ("settings", settings),
    ("signature", signature),
];

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    /// The inputs in a directory, in order.
    fn inputs(directory: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
        paths.sort();
        paths
    }

    fn below(kind: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(kind)
    }

    fn replay(kind: &str, name: &str, target: Target) -> usize {
        let paths = inputs(&below(kind).join(name));
        for path in &paths {
            let input = std::fs::read(path).expect("readable");
            let tried = std::panic::catch_unwind(|| target(&input));
            assert!(tried.is_ok(), "{} fails at {}", name, path.display());
        }
        paths.len()
    }

    #[test]
    fn every_input_of_the_corpora_holds() {
        for (name, target) in TARGETS {
            assert!(replay("corpus", name, target) >= 5, "the corpus of {name} is gone");
        }
    }

    #[test]
    fn every_input_that_once_failed_holds() {
        for directory in inputs(&below("crashes")).into_iter().filter(|path| path.is_dir()) {
            let name = directory.file_name().and_then(|name| name.to_str()).expect("a name");
            let (_, target) = TARGETS.into_iter().find(|(known, _)| *known == name).expect("a target");
            assert!(replay("crashes", name, target) > 0, "nothing is kept of {name}");
        }
    }

    #[test]
    fn every_target_has_its_corpus_and_its_program() {
        let mut names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        let stems = |directory: &Path| -> Vec<String> {
            let stem = |path: PathBuf| path.file_stem().and_then(|name| name.to_str()).map(ToOwned::to_owned);
            inputs(directory).into_iter().filter_map(stem).collect()
        };
        assert_eq!(stems(&below("corpus")), names);
        assert_eq!(stems(&below("targets")), names);
    }
}
