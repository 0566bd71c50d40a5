//! The code of a thin component: find the tool, run the program, turn its outcome into an answer.
//!
//! Values are handed over in two static areas at known addresses: an instance serves one call at a time, and its answer
//! is read before the next. Memory that is allocated for a call is never given back; the instance is dropped instead.

use animus_core::Error;
use wasm_encoder::{BlockType, Function, InstructionSink, MemArg, ValType};

use super::{
    contract::{Contract, Place},
    data::{Data, ENTRY, Structured, Text},
};

/// The only global: where free memory begins. 64 bits, so that no sum of two addresses wraps.
const HEAP: u32 = 0;
/// No tool has a longer name; nothing longer is repeated to the caller.
const LONGEST_NAME: u32 = 64;

/// The indices of the module's functions.
#[derive(Clone, Copy)]
pub(super) struct Functions {
    /// The import `code.run`.
    pub(super) run: u32,
    pub(super) realloc: u32,
    pub(super) join: u32,
    pub(super) equal: u32,
    pub(super) first: u32,
}

/// The parameters of `join`, which returns nothing.
pub(super) const JOIN: [ValType; 7] = [ValType::I32; 7];
/// The parameters of `equal`, which returns one number.
pub(super) const EQUAL: [ValType; 4] = [ValType::I32; 4];
/// The parameters of `first`, which returns one number.
pub(super) const FIRST: [ValType; 2] = [ValType::I32; 2];

fn byte(offset: u32) -> MemArg {
    MemArg { offset: offset.into(), align: 0, memory_index: 0 }
}

fn word(offset: u32) -> MemArg {
    MemArg { offset: offset.into(), align: 2, memory_index: 0 }
}

/// What the code does again and again with places that are known beforehand.
trait Emit {
    fn num(&mut self, value: u32) -> &mut Self;
    fn text(&mut self, text: Text) -> &mut Self;
    /// Pushes the text whose address and length are at `place`.
    fn text_at(&mut self, place: Place) -> &mut Self;
    /// Pushes the discriminant or flag at `place`.
    fn tag(&mut self, place: Place) -> &mut Self;
    fn set_tag(&mut self, place: Place, value: u32) -> &mut Self;
    /// Copies a string or list: its address and length, not what it holds.
    fn copy_text(&mut self, to: Place, from: Place) -> &mut Self;
}

impl Emit for InstructionSink<'_> {
    fn num(&mut self, value: u32) -> &mut Self {
        self.i32_const(value.cast_signed())
    }

    fn text(&mut self, text: Text) -> &mut Self {
        self.num(text.at).num(text.len)
    }

    fn text_at(&mut self, place: Place) -> &mut Self {
        self.num(place.at).i32_load(word(0)).num(place.at).i32_load(word(4))
    }

    fn tag(&mut self, place: Place) -> &mut Self {
        self.num(place.at).i32_load8_u(byte(0))
    }

    fn set_tag(&mut self, place: Place, value: u32) -> &mut Self {
        self.num(place.at).num(value).i32_store8(byte(0))
    }

    fn copy_text(&mut self, to: Place, from: Place) -> &mut Self {
        self.num(to.at).num(from.at).i64_load(word(0)).i64_store(word(0))
    }
}

/// `cabi_realloc(old, old-size, align, new-size)`: takes from the end of what is used, and traps when memory does not
/// grow.
pub(super) fn realloc() -> Function {
    let (old, old_size, align, new_size, at, end, missing) = (0, 1, 2, 3, 4, 5, 6);
    let mut function = Function::new([(2, ValType::I64), (1, ValType::I32)]);
    let mut code = function.instructions();
    code.local_get(new_size).local_get(old_size).i32_le_u();
    code.if_(BlockType::Empty).local_get(old).return_().end();
    // at = heap rounded up to `align`, a power of two; end = at + new-size.
    code.global_get(HEAP).local_get(align).i64_extend_i32_u().i64_add().i64_const(1).i64_sub();
    code.i64_const(0).local_get(align).i64_extend_i32_u().i64_sub().i64_and().local_tee(at);
    code.local_get(new_size).i64_extend_i32_u().i64_add().local_set(end);
    // missing = pages up to `end` that memory does not have yet.
    code.local_get(end).i64_const(0xffff).i64_add().i64_const(16).i64_shr_u().i32_wrap_i64();
    code.memory_size(0).i32_sub().local_tee(missing).i32_const(0).i32_gt_s();
    code.if_(BlockType::Empty);
    code.local_get(missing).memory_grow(0).i32_const(-1).i32_eq();
    code.if_(BlockType::Empty).unreachable().end();
    code.end();
    code.local_get(end).global_set(HEAP);
    code.local_get(at).i32_wrap_i64().local_get(old).local_get(old_size).memory_copy(0, 0);
    code.local_get(at).i32_wrap_i64();
    code.end();
    function
}

/// `join(to, a, a-len, b, b-len, c, c-len)`: puts the three texts into new memory, and its address and length at `to`.
/// The texts do not overlap, so the sum of their lengths does not wrap.
pub(super) fn join(functions: Functions) -> Function {
    let (to, parts, at, len) = (0, [(1, 2), (3, 4), (5, 6)], 7, 8);
    let mut function = Function::new([(2, ValType::I32)]);
    let mut code = function.instructions();
    code.i32_const(0).i32_const(0).i32_const(1);
    code.local_get(2).local_get(4).i32_add().local_get(6).i32_add().local_tee(len);
    code.call(functions.realloc).local_set(at);
    code.local_get(to).local_get(at).i32_store(word(0));
    code.local_get(to).local_get(len).i32_store(word(4));
    for (part, part_len) in parts {
        code.local_get(at).local_get(part).local_get(part_len).memory_copy(0, 0);
        code.local_get(at).local_get(part_len).i32_add().local_set(at);
    }
    code.end();
    function
}

/// `equal(a, a-len, b, b-len)`: 1 for texts of the same bytes.
pub(super) fn equal() -> Function {
    let (a, left, b, b_len) = (0, 1, 2, 3);
    let mut function = Function::new([]);
    let mut code = function.instructions();
    code.local_get(left).local_get(b_len).i32_ne();
    code.if_(BlockType::Empty).i32_const(0).return_().end();
    code.loop_(BlockType::Empty);
    code.local_get(left).i32_eqz().if_(BlockType::Empty).i32_const(1).return_().end();
    code.local_get(a).i32_load8_u(byte(0)).local_get(b).i32_load8_u(byte(0)).i32_ne();
    code.if_(BlockType::Empty).i32_const(0).return_().end();
    for pointer in [a, b] {
        code.local_get(pointer).i32_const(1).i32_add().local_set(pointer);
    }
    code.local_get(left).i32_const(1).i32_sub().local_set(left);
    code.br(0).end();
    code.unreachable().end();
    function
}

/// `first(text, len)`: its first byte that is no white space of JSON; 0 when there is none.
pub(super) fn first() -> Function {
    let (text, left, found) = (0, 1, 2);
    let mut function = Function::new([(1, ValType::I32)]);
    let mut code = function.instructions();
    code.loop_(BlockType::Empty);
    code.local_get(left).i32_eqz().if_(BlockType::Empty).i32_const(0).return_().end();
    code.local_get(text).i32_load8_u(byte(0)).local_set(found);
    code.local_get(text).i32_const(1).i32_add().local_set(text);
    code.local_get(left).i32_const(1).i32_sub().local_set(left);
    for (n, space) in [b' ', b'\t', b'\n', b'\r'].into_iter().enumerate() {
        code.local_get(found).i32_const(space.into()).i32_eq();
        if n > 0 {
            code.i32_or();
        }
    }
    code.br_if(0).end();
    code.local_get(found).end();
    function
}

/// `list-tools()`.
pub(super) fn list(data: &Data) -> Function {
    let mut function = Function::new([]);
    function.instructions().num(data.listed).end();
    function
}

/// `call-tool(name, name-len, args, args-len)`.
pub(super) fn call(contract: &Contract, data: &Data, functions: Functions) -> Result<Function, Error> {
    let (name, name_len, args, args_len, entry) = (0, 1, 2, 3, 4);
    let end_of_table = data.tools.at.saturating_add(data.tools.len.saturating_mul(ENTRY));
    let places = Places::of(contract, data)?;
    let mut function = Function::new([(1, ValType::I32)]);
    let mut code = function.instructions();

    // Only a tool is ever called: a name from outside must not reach another function of the program.
    code.num(data.tools.at).local_set(entry);
    code.block(BlockType::Empty).loop_(BlockType::Empty);
    code.local_get(entry).num(end_of_table).i32_eq().if_(BlockType::Empty);
    refuse(&mut code, data, &places, functions, (name, name_len));
    code.end();
    code.local_get(name).local_get(name_len);
    code.local_get(entry).i32_load(word(0)).local_get(entry).i32_load(word(4)).call(functions.equal).br_if(1);
    code.local_get(entry).num(ENTRY).i32_add().local_set(entry);
    code.br(0).end().end();

    code.text(data.interpreter).text(data.name).text(data.source).text(data.modules);
    code.i32_const(1).local_get(name).local_get(name_len);
    code.local_get(args).local_get(args_len);
    code.i32_const(0).i32_const(0).i32_const(0);
    code.num(data.ran.at).call(functions.run);

    code.tag(data.ran).if_(BlockType::Empty);
    fail(&mut code, data, &places, places.ran_error);
    code.end();
    code.tag(places.failure).if_(BlockType::Empty);
    code.tag(places.cause).if_(BlockType::Empty);
    fail(&mut code, data, &places, places.cause_error);
    code.end();
    report(&mut code, data, &places, functions);
    code.end();
    succeed(&mut code, data, &places, functions, entry);
    code.end();
    Ok(function)
}

/// `error.not-found`, and return.
fn refuse(code: &mut InstructionSink<'_>, data: &Data, places: &Places, functions: Functions, name: (u32, u32)) {
    let (name, name_len) = name;
    code.local_get(name_len).num(LONGEST_NAME).i32_gt_u().if_(BlockType::Empty);
    code.num(data.words.ellipsis.at).local_set(name).num(data.words.ellipsis.len).local_set(name_len);
    code.end();
    code.set_tag(data.answer, 1).set_tag(places.error, places.not_found.0);
    code.num(places.not_found.1.at);
    code.text(data.words.unknown.0).local_get(name).local_get(name_len).text(data.words.unknown.1);
    code.call(functions.join);
    code.num(data.answer.at).return_();
}

/// The call fails with the error at `from`, and returns.
fn fail(code: &mut InstructionSink<'_>, data: &Data, places: &Places, from: Place) {
    code.set_tag(data.answer, 1);
    code.num(places.error.at).num(from.at).num(places.error_size).memory_copy(0, 0);
    code.num(data.answer.at).return_();
}

/// The program's own failure is the tool's answer, and returns.
fn report(code: &mut InstructionSink<'_>, data: &Data, places: &Places, functions: Functions) {
    begin(code, data, places, 1);
    code.num(places.traceback.at).i32_load(word(4)).if_(BlockType::Empty);
    code.copy_text(places.text, places.traceback);
    code.else_();
    code.num(places.text.at).text_at(places.kind).text(data.words.colon).text_at(places.message).call(functions.join);
    code.end();
    code.num(data.answer.at).return_();
}

/// The program's value is the tool's answer. Leaves it on the stack.
fn succeed(code: &mut InstructionSink<'_>, data: &Data, places: &Places, functions: Functions, entry: u32) {
    begin(code, data, places, 0);
    code.copy_text(places.text, places.out);
    let mode = word(8);
    code.tag(places.value).local_get(entry).i32_load(mode).num(Structured::Never as u32).i32_ne().i32_and();
    code.if_(BlockType::Empty).set_tag(places.structured, 1);
    code.local_get(entry).i32_load(mode).num(Structured::Object as u32).i32_eq();
    code.text_at(places.value_text).call(functions.first).i32_const(b'{'.into()).i32_eq().i32_and();
    code.if_(BlockType::Empty).copy_text(places.structured_text, places.value_text).else_();
    code.num(places.structured_text.at);
    code.text(data.words.wrap.0).text_at(places.value_text).text(data.words.wrap.1).call(functions.join);
    code.end().end();
    code.num(data.answer.at);
}

/// An answer without text, data and images. Every part is written: the area may hold an earlier answer.
fn begin(code: &mut InstructionSink<'_>, data: &Data, places: &Places, is_error: u32) {
    code.set_tag(data.answer, 0).set_tag(places.structured, 0).set_tag(places.is_error, is_error);
    code.num(places.images.at).i64_const(0).i64_store(word(0));
}

/// Where the parts of the two areas are.
struct Places {
    // Of what `code.run` answered.
    ran_error: Place,
    out: Place,
    value: Place,
    value_text: Place,
    failure: Place,
    kind: Place,
    message: Place,
    traceback: Place,
    cause: Place,
    cause_error: Place,
    // Of what `call-tool` answers.
    error: Place,
    error_size: u32,
    not_found: (u32, Place),
    text: Place,
    structured: Place,
    structured_text: Place,
    images: Place,
    is_error: Place,
}

impl Places {
    fn of(contract: &Contract, data: &Data) -> Result<Self, Error> {
        let outcome = contract.inner(data.ran)?;
        let value = contract.field(outcome, "value")?;
        let failure = contract.field(outcome, "failure")?;
        let raised = contract.inner(failure)?;
        let cause = contract.field(raised, "cause")?;
        let result = contract.inner(data.answer)?;
        let structured = contract.field(result, "structured")?;
        let error = contract.err(data.answer)?;
        Ok(Self {
            ran_error: contract.err(data.ran)?,
            out: contract.field(outcome, "text")?,
            value,
            value_text: contract.inner(value)?,
            failure,
            kind: contract.field(raised, "kind")?,
            message: contract.field(raised, "message")?,
            traceback: contract.field(raised, "traceback")?,
            cause,
            cause_error: contract.inner(cause)?,
            error,
            error_size: contract.size(&error.ty)?,
            not_found: contract.case(error, "not-found")?,
            text: contract.field(result, "text")?,
            structured,
            structured_text: contract.inner(structured)?,
            images: contract.field(result, "images")?,
            is_error: contract.field(result, "is-error")?,
        })
    }
}
