//! A core module of data and code, and the component around it.

use animus_core::Error;
use wasm_encoder::{
    CodeSection, ConstExpr, DataSection, EntityType, ExportKind, ExportSection, FunctionSection, GlobalSection,
    GlobalType, ImportSection, MemorySection, MemoryType, Module, TypeSection, ValType,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::abi::{WasmSignature, WasmType};

use super::{
    Interface, Thin,
    code::{self, Functions},
    contract::{Contract, Named},
    data::{BASE, Data, Types},
};

impl Interface {
    fn path(self) -> &'static str {
        match self {
            Self::Llm => "animus:llm/llm",
            Self::Ledger => "animus:ledger/ledger",
            Self::Memory => "animus:memory/memory",
            Self::Tool => "animus:tool/tool",
            Self::SpawnChild => "animus:spawn-child/spawn-child",
        }
    }
}

/// The component, without sections of our own.
pub(super) fn build(skill: &Thin<'_>) -> Result<Vec<u8>, Error> {
    let contract = Contract::get()?;
    let mut module = module(skill, contract)?;
    let failed = |e| Error::Internal(format!("the skill does not become a component: {e:#}"));
    embed_component_metadata(&mut module, &contract.resolve, contract.world, StringEncoding::UTF8).map_err(failed)?;
    ComponentEncoder::default().module(&module).and_then(|encoder| encoder.validate(true).encode()).map_err(failed)
}

/// The module's functions: their types, and which are imported.
#[derive(Default)]
struct Signatures {
    types: TypeSection,
    imports: ImportSection,
    functions: FunctionSection,
    /// So many types, and as many functions: each has its own.
    count: u32,
}

impl Signatures {
    fn declare(&mut self, params: &[ValType], results: &[ValType]) -> u32 {
        self.types.ty().function(params.iter().copied(), results.iter().copied());
        self.count = self.count.saturating_add(1);
        self.count.saturating_sub(1)
    }

    /// All imports come before the first function of the module's own.
    fn import(&mut self, from: &Named, name: &str, signature: &WasmSignature) -> u32 {
        let index = self.declare(&core(&signature.params), &core(&signature.results));
        self.imports.import(&from.name, name, EntityType::Function(index));
        index
    }

    fn define(&mut self, params: &[ValType], results: &[ValType]) -> u32 {
        let index = self.declare(params, results);
        self.functions.function(index);
        index
    }
}

fn core(types: &[WasmType]) -> Vec<ValType> {
    let core = |ty: &WasmType| match ty {
        WasmType::I32 | WasmType::Pointer | WasmType::Length => ValType::I32,
        WasmType::I64 | WasmType::PointerOrI64 => ValType::I64,
        WasmType::F32 => ValType::F32,
        WasmType::F64 => ValType::F64,
    };
    types.iter().map(core).collect()
}

fn module(skill: &Thin<'_>, contract: &Contract) -> Result<Vec<u8>, Error> {
    let (interpreter, tools) = (contract.import("animus:interpreter/code")?, contract.export("animus:tool/tools")?);
    let run = contract.function(&interpreter, "run")?;
    let list = contract.function(&tools, "list-tools")?;
    let call = contract.function(&tools, "call-tool")?;
    let types = Types {
        definitions: contract.answer(list)?,
        modules: contract.parameter(run, &["program", "modules"])?,
        ran: contract.answer(run)?,
        answer: contract.answer(call)?,
    };
    let data = Data::of(skill, contract, &types)?;

    let mut signatures = Signatures::default();
    let run = signatures.import(&interpreter, "run", &contract.lowered(run));
    for interface in skill.imports {
        // Every function, so that the component shows the whole interface: what a tool shows of an import is what is
        // taken from it.
        let named = contract.import(interface.path())?;
        for function in contract.functions(&named)? {
            signatures.import(&named, &function.name, &contract.lowered(function));
        }
    }
    let (listed, called) = (contract.lifted(list), contract.lifted(call));
    let functions = Functions {
        run,
        realloc: signatures.define(&[ValType::I32; 4], &[ValType::I32]),
        join: signatures.define(&code::JOIN, &[]),
        equal: signatures.define(&code::EQUAL, &[ValType::I32]),
        first: signatures.define(&code::FIRST, &[ValType::I32]),
    };
    let list_index = signatures.define(&core(&listed.params), &core(&listed.results));
    let call_index = signatures.define(&core(&called.params), &core(&called.results));

    let mut exports = ExportSection::new();
    exports.export("memory", ExportKind::Memory, 0);
    exports.export("cabi_realloc", ExportKind::Func, functions.realloc);
    exports.export(&format!("{}#{}", tools.name, list.name), ExportKind::Func, list_index);
    exports.export(&format!("{}#{}", tools.name, call.name), ExportKind::Func, call_index);

    let mut bodies = CodeSection::new();
    bodies.function(&code::realloc());
    bodies.function(&code::join(functions));
    bodies.function(&code::equal());
    bodies.function(&code::first());
    bodies.function(&code::list(&data));
    bodies.function(&code::call(contract, &data, functions)?);
    Ok(assemble(signatures, &exports, &bodies, data))
}

fn assemble(signatures: Signatures, exports: &ExportSection, bodies: &CodeSection, data: Data) -> Vec<u8> {
    const PAGE: u32 = 64 << 10;
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: data.heap.div_ceil(PAGE).into(),
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut globals = GlobalSection::new();
    globals.global(
        GlobalType { val_type: ValType::I64, mutable: true, shared: false },
        &ConstExpr::i64_const(data.heap.into()),
    );
    let mut segments = DataSection::new();
    segments.active(0, &ConstExpr::i32_const(BASE.cast_signed()), data.bytes);

    let mut module = Module::new();
    module.section(&signatures.types).section(&signatures.imports).section(&signatures.functions);
    module.section(&memories).section(&globals).section(exports).section(bodies).section(&segments);
    module.finish()
}
