//! Code as data: programs that an interpreter plugin runs, and what comes of them. See `animus:interpreter`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, tool::Tool};

/// The longest program, its modules included, in bytes.
pub const MAX_SOURCE: usize = 1 << 20;
/// The most modules of a program.
pub const MAX_MODULES: usize = 64;
/// The largest state of a session, in bytes.
pub const MAX_STATE: usize = 8 << 20;

/// A module that a program can import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Its dotted name.
    pub name: String,
    /// Its text.
    pub source: String,
}

/// What to run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// What tracebacks call it.
    pub name: String,
    /// Its text.
    pub source: String,
    /// What it can import beside the interpreter's own library.
    pub modules: Vec<Module>,
    /// The function to call; without one the source is the body of a function.
    pub entry: Option<String>,
    /// JSON text of an object: the arguments of `entry`, or the body's `args`.
    pub args: String,
    /// What an earlier run of the same session left; empty for the first. None: no session.
    pub state: Option<Vec<u8>>,
}

impl Program {
    /// A body without arguments.
    #[must_use]
    pub fn body(name: impl Into<String>, source: impl Into<String>) -> Self {
        Self { name: name.into(), source: source.into(), args: "{}".to_owned(), ..Self::default() }
    }

    /// Checks the bounds, so that nobody has to do it after copying it into a guest.
    ///
    /// # Errors
    /// [`Error::Invalid`] that names the bound.
    pub fn check(&self) -> Result<(), Error> {
        let bytes = self.modules.iter().map(|module| module.source.len()).sum::<usize>() + self.source.len();
        if bytes > MAX_SOURCE {
            return Err(Error::Invalid(format!("the program has {bytes} bytes; at most {MAX_SOURCE} are run")));
        }
        if self.modules.len() > MAX_MODULES {
            let modules = self.modules.len();
            return Err(Error::Invalid(format!("the program has {modules} modules; at most {MAX_MODULES} are taken")));
        }
        let state = self.state.as_ref().map_or(0, Vec::len);
        if state > MAX_STATE {
            return Err(Error::Invalid(format!("the session's state has {state} bytes; at most {MAX_STATE} are kept")));
        }
        match serde_json::from_str::<serde_json::Map<String, Value>>(&self.args) {
            Ok(_) => Ok(()),
            Err(e) => Err(Error::Invalid(format!("the program's arguments are not a JSON object: {e}"))),
        }
    }
}

/// A program that raised and did not handle it, or does not parse.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// The exception's type.
    pub kind: String,
    /// What it says.
    pub message: String,
    /// Where, in lines of the program and its modules.
    pub traceback: String,
    /// The host's error where that is what was raised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Error>,
}

/// How a program ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ran {
    /// The value as a model reads it; empty for no value.
    pub text: String,
    /// The value, where it has a JSON form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// What it wrote to standard output, bounded by the interpreter and again by the host.
    pub stdout: String,
    /// What it wrote to standard error, bounded likewise.
    pub stderr: String,
    /// Why it did not end well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What the next run of the session gets. The journal and the model have no use for it.
    #[serde(skip)]
    pub state: Option<Vec<u8>>,
}

/// One test of a program, run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tested {
    /// The name of its function.
    pub name: String,
    /// None: it passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// Something that is wrong with a program that was not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// From 1; 0 where no line is to blame.
    pub line: u32,
    /// What is wrong.
    pub message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            0 => f.write_str(&self.message),
            line => write!(f, "line {line}: {}", self.message),
        }
    }
}

/// What a program offers as tools, found without running its functions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// A tool for each public function, by short name.
    pub tools: Vec<Tool>,
    /// The capabilities that it names, in their written form.
    pub uses: Vec<String>,
    /// What keeps it from becoming tools.
    pub problems: Vec<Problem>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_beyond_a_bound_is_refused_with_the_bound() {
        let fits = Program::body("x", "return 1");
        fits.check().unwrap();
        let module = Module { name: "m".into(), source: "x".repeat(MAX_SOURCE) };
        for (wrong, word) in [
            (Program { modules: vec![module.clone()], ..fits.clone() }, "bytes"),
            (Program { modules: vec![Module { source: String::new(), ..module }; 65], ..fits.clone() }, "modules"),
            (Program { state: Some(vec![0; MAX_STATE + 1]), ..fits.clone() }, "state"),
            (Program { args: "[]".into(), ..fits }, "JSON object"),
        ] {
            let error = wrong.check().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
