//! Tools that a plugin offers.

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    Error, Result,
    bindings::imports::animus::{tool::types as wit, types::types as wit_types},
    panics, schema,
};

pub use wit::{Annotations, Definition, Image};

impl Annotations {
    /// It changes nothing; a host may repeat it.
    pub const READ_ONLY: Self = Self { read_only: true, idempotent: true, destructive: false, open_world: false };
    /// It adds, and neither overwrites nor removes.
    pub const ADDS: Self = Self { read_only: false, idempotent: false, destructive: false, open_world: false };
    /// It may overwrite or remove.
    pub const DESTROYS: Self = Self { read_only: false, idempotent: false, destructive: true, open_world: false };

    /// Doing it twice is the same as doing it once: after a crash a host may repeat it.
    #[must_use]
    pub const fn idempotent(self) -> Self {
        Self { idempotent: true, ..self }
    }

    /// It reaches beyond this machine.
    #[must_use]
    pub const fn open_world(self) -> Self {
        Self { open_world: true, ..self }
    }
}

/// A tool: the type is its arguments.
///
/// The doc comment of the type is the tool's description, which is what a model reads to decide; those of the fields
/// describe the arguments. Arguments that the type does not know are refused, except where `#[serde(flatten)]` takes
/// them in.
pub trait Tool: DeserializeOwned + JsonSchema {
    /// `[a-z][a-z0-9_]*`, at most 64 bytes. Callers see it as `<plugin>.<name>`.
    const NAME: &'static str;
    /// What it does to the world. Hosts rely on it when they recover: say `idempotent` only of what is.
    const ANNOTATIONS: Annotations;
    /// Text ([`String`], `&'static str`), data ([`Json`]), [`Both`], or [`ToolOutput`] for images too.
    type Output: IntoOutput;

    /// Does it. Every call has a fresh instance: nothing in memory outlives it.
    ///
    /// # Errors
    /// What went wrong, in words that the caller can act on.
    fn call(self) -> Result<Self::Output>;

    /// Calls it with JSON text, as a host does.
    ///
    /// # Errors
    /// [`Error::Invalid`] for arguments that do not fit; those of [`Tool::call`].
    fn call_json(args: &str) -> Result<ToolOutput> {
        schema::arguments::<Self>(Self::NAME, args)?.call()?.into_output()
    }

    /// How the tool presents itself.
    fn definition() -> Definition {
        let (input_schema, description) = schema::of_arguments::<Self>();
        Definition {
            name: Self::NAME.to_owned(),
            description,
            input_schema: input_schema.to_string(),
            output_schema: Self::Output::schema().map(|schema| schema.to_string()),
            annotations: Self::ANNOTATIONS,
        }
    }
}

/// What a tool answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToolOutput {
    /// Text for the model.
    pub text: String,
    /// The same answer as data, for callers that are programs.
    pub structured: Option<Value>,
    /// Images for the model.
    pub images: Vec<Image>,
    /// The tool did run and reports that it failed; the text says how.
    pub is_error: bool,
}

impl ToolOutput {
    /// Text alone.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// Adds the answer as data.
    ///
    /// # Errors
    /// [`Error::Internal`] for a value that has no JSON form, such as a map whose keys are not texts.
    pub fn with_structured(self, value: impl Serialize) -> Result<Self> {
        let structured = serde_json::to_value(value).map_err(Error::internal)?;
        Ok(Self { structured: Some(structured), ..self })
    }

    /// Adds an image: `image/png`, `image/jpeg`, `image/gif` or `image/webp`.
    #[must_use]
    pub fn with_image(mut self, media_type: impl Into<String>, data: Vec<u8>) -> Self {
        self.images.push(Image { media_type: media_type.into(), data });
        self
    }

    /// The tool ran, and this is how it failed.
    pub fn failure(text: impl Into<String>) -> Self {
        Self { is_error: true, ..Self::text(text) }
    }

    pub(crate) fn from_host(result: wit::ToolResult) -> Result<Self> {
        let structured = result.structured.map(|json| serde_json::from_str(&json)).transpose()?;
        Ok(Self { text: result.text, structured, images: result.images, is_error: result.is_error })
    }

    fn into_host(self) -> wit::ToolResult {
        wit::ToolResult {
            text: self.text,
            structured: self.structured.map(|value| value.to_string()),
            images: self.images,
            is_error: self.is_error,
        }
    }
}

/// Data as a tool's answer: programs get it as it is, with its schema; models get it as JSON text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Json<T>(pub T);

/// Text as models read it, and beside it the same answer as data, which programs get: `{"result": …}`. Code that calls
/// the tool sees the `result` itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Both<T> {
    /// For models.
    pub text: String,
    /// For programs.
    pub result: T,
}

/// What [`Tool::Output`] can be.
pub trait IntoOutput {
    /// JSON Schema of [`ToolOutput::structured`]; none where the answer is only text.
    fn schema() -> Option<Value> {
        None
    }

    /// The answer.
    ///
    /// # Errors
    /// [`Error::Internal`] for data that has no JSON form.
    fn into_output(self) -> Result<ToolOutput>;
}

impl IntoOutput for ToolOutput {
    fn into_output(self) -> Result<ToolOutput> {
        Ok(self)
    }
}

impl IntoOutput for String {
    fn into_output(self) -> Result<ToolOutput> {
        Ok(ToolOutput::text(self))
    }
}

impl IntoOutput for &'static str {
    fn into_output(self) -> Result<ToolOutput> {
        Ok(ToolOutput::text(self))
    }
}

impl<T: Serialize + JsonSchema> IntoOutput for Json<T> {
    fn schema() -> Option<Value> {
        Some(schema::of::<T>().0.into())
    }

    fn into_output(self) -> Result<ToolOutput> {
        let value = serde_json::to_value(self.0).map_err(Error::internal)?;
        Ok(ToolOutput { text: value.to_string(), structured: Some(value), ..ToolOutput::default() })
    }
}

impl<T: Serialize + JsonSchema> IntoOutput for Both<T> {
    fn schema() -> Option<Value> {
        Some(schema::of::<Wrapped<T>>().0.into())
    }

    fn into_output(self) -> Result<ToolOutput> {
        ToolOutput::text(self.text).with_structured(Wrapped { result: self.result })
    }
}

#[derive(Serialize, JsonSchema)]
struct Wrapped<T> {
    result: T,
}

/// One call from the host.
#[doc(hidden)]
pub fn run_tool<T: Tool>(args: &str) -> std::result::Result<wit::ToolResult, wit_types::Error> {
    panics::report_in("tool", T::NAME);
    T::call_json(args).map(ToolOutput::into_host).map_err(Error::into_host)
}

/// Makes the crate a plugin that offers these tools: `export_tools!(Read, Write);`
#[macro_export]
macro_rules! export_tools {
    ($($tool:ty),+ $(,)?) => {
        const _: () = {
            use $crate::bindings::tool_plugin::exports::animus::tool::tools as exports;

            struct Plugin;

            impl exports::Guest for Plugin {
                fn list_tools() -> ::std::vec::Vec<exports::Definition> {
                    ::std::vec![$(<$tool as $crate::Tool>::definition()),+]
                }

                fn call_tool(
                    name: ::std::string::String,
                    args: ::std::string::String,
                ) -> ::std::result::Result<exports::ToolResult, exports::Error> {
                    match name.as_str() {
                        $(<$tool as $crate::Tool>::NAME => $crate::private::run_tool::<$tool>(&args),)+
                        _ => ::std::result::Result::Err(exports::Error::NotFound(::std::format!("tool '{name}'"))),
                    }
                }
            }

            $crate::bindings::tool_plugin::export_tool_plugin!(Plugin);
        };
    };
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    /// Adds two numbers.
    #[derive(Deserialize, JsonSchema)]
    struct Add {
        a: i64,
        b: i64,
    }

    /// A sum.
    #[derive(Serialize, JsonSchema)]
    struct Sum {
        sum: i64,
    }

    impl Tool for Add {
        const NAME: &'static str = "add";
        const ANNOTATIONS: Annotations = Annotations::READ_ONLY;
        type Output = Json<Sum>;

        fn call(self) -> Result<Json<Sum>> {
            let sum = self.a.checked_add(self.b).ok_or_else(|| Error::invalid("the sum exceeds 64 bits"))?;
            Ok(Json(Sum { sum }))
        }
    }

    #[test]
    fn a_definition_carries_the_doc_comment_and_both_schemas() {
        let definition = Add::definition();
        assert_eq!((definition.name.as_str(), definition.description.as_str()), ("add", "Adds two numbers."));
        let output: Value = serde_json::from_str(&definition.output_schema.unwrap()).unwrap();
        assert_eq!(output["properties"]["sum"]["type"], "integer");
        assert!(definition.annotations.read_only);
    }

    #[test]
    fn data_is_answered_as_data_and_as_text() {
        let output = Add::call_json(r#"{"a":1,"b":2}"#).unwrap();
        assert_eq!(output.structured, Some(json!({"sum": 3})));
        assert_eq!(output.text, r#"{"sum":3}"#);
    }

    #[test]
    fn text_and_data_stand_beside_each_other_and_the_data_is_under_result() {
        let output = Both { text: "a, b".into(), result: vec!["a", "b"] }.into_output().unwrap();
        assert_eq!((output.text.as_str(), output.structured), ("a, b", Some(json!({"result": ["a", "b"]}))));
        let schema = Both::<Vec<String>>::schema().unwrap();
        assert_eq!(schema["properties"]["result"]["type"], "array");
        assert_eq!((&schema["type"], &schema["required"]), (&json!("object"), &json!(["result"])));
    }

    #[test]
    fn errors_of_the_tool_and_of_its_arguments_keep_their_class() {
        assert_eq!(
            Add::call_json(&format!(r#"{{"a":{},"b":1}}"#, i64::MAX)),
            Err(Error::invalid("the sum exceeds 64 bits"))
        );
        assert!(matches!(Add::call_json(r#"{"a":1}"#), Err(Error::Invalid(_))));
    }
}
