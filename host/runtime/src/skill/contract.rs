//! The contracts as this host was built with them: names, signatures, and where in memory the parts of a value are.

use std::sync::OnceLock;

use animus_core::Error;
use wit_parser::{
    Function, InterfaceId, Resolve, SizeAlign, Type, TypeDefKind, WorldId, WorldItem, WorldKey,
    abi::{AbiVariant, WasmSignature},
};

/// In the order of their dependence.
const TEXTS: [(&str, &str); 10] = [
    ("types.wit", include_str!("../../../../wit/deps/animus-types@0.1.0/types.wit")),
    ("tool.wit", include_str!("../../../../wit/deps/animus-tool@0.1.0/tool.wit")),
    ("llm.wit", include_str!("../../../../wit/deps/animus-llm@0.1.0/llm.wit")),
    ("ledger.wit", include_str!("../../../../wit/deps/animus-ledger@0.1.0/ledger.wit")),
    ("memory.wit", include_str!("../../../../wit/deps/animus-memory@0.1.0/memory.wit")),
    ("faculty.wit", include_str!("../../../../wit/deps/animus-faculty@0.1.0/faculty.wit")),
    ("interpreter.wit", include_str!("../../../../wit/deps/animus-interpreter@0.1.0/interpreter.wit")),
    ("spawn-child.wit", include_str!("../../../../wit/deps/animus-spawn-child@0.1.0/spawn-child.wit")),
    ("hook.wit", include_str!("../../../../wit/deps/animus-hook@0.1.0/hook.wit")),
    ("plugin.wit", include_str!("../../../../wit/plugin.wit")),
];

/// The world of plugins that offer tools.
pub(super) struct Contract {
    pub(super) resolve: Resolve,
    pub(super) world: WorldId,
    sizes: SizeAlign,
}

/// An interface of the world under the name by which modules import or export it.
pub(super) struct Named {
    pub(super) name: String,
    id: InterfaceId,
}

/// A value in memory: its address, or its offset within another.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) at: u32,
    pub(super) ty: Type,
}

/// A contract that is not what the emitted code expects: a mistake of this host, which its tests find.
fn odd(what: &str) -> Error {
    Error::Internal(format!("the contract has no {what}, which the skill compiler needs"))
}

impl Contract {
    /// Parsed once.
    pub(super) fn get() -> Result<&'static Self, Error> {
        static CONTRACT: OnceLock<Result<Contract, String>> = OnceLock::new();
        CONTRACT
            .get_or_init(Self::parse)
            .as_ref()
            .map_err(|e| Error::Internal(format!("the host's contracts do not parse: {e}")))
    }

    fn parse() -> Result<Self, String> {
        let mut resolve = Resolve::default();
        let mut last = None;
        for (name, text) in TEXTS {
            last = Some(resolve.push_source(name, text).map_err(|e| format!("{name}: {e:#}"))?);
        }
        let package = last.ok_or("there are none")?;
        let world = resolve.select_world(&[package], Some("tool-plugin")).map_err(|e| format!("{e:#}"))?;
        let mut sizes = SizeAlign::default();
        sizes.fill(&resolve);
        Ok(Self { resolve, world, sizes })
    }

    /// The interface that the world imports under that path, such as `animus:llm/llm`.
    pub(super) fn import(&self, path: &str) -> Result<Named, Error> {
        let world = self.resolve.worlds.get(self.world).ok_or_else(|| odd("world"))?;
        self.named(path, world.imports.iter())
    }

    /// The interface that the world exports under that path.
    pub(super) fn export(&self, path: &str) -> Result<Named, Error> {
        let world = self.resolve.worlds.get(self.world).ok_or_else(|| odd("world"))?;
        self.named(path, world.exports.iter())
    }

    fn named<'a>(
        &self,
        path: &str,
        mut items: impl Iterator<Item = (&'a WorldKey, &'a WorldItem)>,
    ) -> Result<Named, Error> {
        items
            .find_map(|(key, item)| {
                let name = self.resolve.name_world_key(key);
                let WorldItem::Interface { id, .. } = item else { return None };
                (name.split('@').next() == Some(path)).then_some(Named { name, id: *id })
            })
            .ok_or_else(|| odd(path))
    }

    /// The functions of an interface, in its own order.
    pub(super) fn functions(&self, of: &Named) -> Result<impl Iterator<Item = &Function>, Error> {
        Ok(self.resolve.interfaces.get(of.id).ok_or_else(|| odd(&of.name))?.functions.values())
    }

    pub(super) fn function(&self, of: &Named, name: &str) -> Result<&Function, Error> {
        self.functions(of)?.find(|f| f.name == name).ok_or_else(|| odd(name))
    }

    /// How a module imports a function.
    pub(super) fn lowered(&self, function: &Function) -> WasmSignature {
        self.resolve.wasm_signature(AbiVariant::GuestImport, function)
    }

    /// How a module exports a function.
    pub(super) fn lifted(&self, function: &Function) -> WasmSignature {
        self.resolve.wasm_signature(AbiVariant::GuestExport, function)
    }

    /// The type of what a function returns.
    pub(super) fn answer(&self, function: &Function) -> Result<Type, Error> {
        function.result.ok_or_else(|| odd("answer"))
    }

    /// The type of a parameter, or of a field within it: the path begins with the parameter's name.
    pub(super) fn parameter(&self, function: &Function, path: &[&str]) -> Result<Type, Error> {
        let (name, fields) = path.split_first().ok_or_else(|| odd("path"))?;
        let parameter = function.params.iter().find(|param| param.name == *name).ok_or_else(|| odd(name))?;
        let whole = Place { at: 0, ty: parameter.ty };
        Ok(fields.iter().try_fold(whole, |place, field| self.field(place, field))?.ty)
    }

    pub(super) fn size(&self, ty: &Type) -> Result<u32, Error> {
        u32::try_from(self.sizes.size(ty).size_wasm32()).map_err(|_| odd("small type"))
    }

    pub(super) fn align(&self, ty: &Type) -> Result<u32, Error> {
        u32::try_from(self.sizes.align(ty).align_wasm32()).map_err(|_| odd("small type"))
    }

    /// What a type is, behind all its names.
    fn kind(&self, mut ty: Type) -> Result<&TypeDefKind, Error> {
        loop {
            let Type::Id(id) = ty else { return Err(odd("compound type")) };
            match &self.resolve.types.get(id).ok_or_else(|| odd("type"))?.kind {
                TypeDefKind::Type(aliased) => ty = *aliased,
                kind => return Ok(kind),
            }
        }
    }

    /// The type of a list's elements.
    pub(super) fn element(&self, list: Type) -> Result<Type, Error> {
        match self.kind(list)? {
            TypeDefKind::List(element) => Ok(*element),
            _ => Err(odd("list")),
        }
    }

    /// A field of a record.
    pub(super) fn field(&self, record: Place, name: &str) -> Result<Place, Error> {
        let TypeDefKind::Record(shape) = self.kind(record.ty)? else { return Err(odd("record")) };
        let offsets = self.sizes.field_offsets(shape.fields.iter().map(|field| &field.ty));
        let (_, (offset, ty)) =
            shape.fields.iter().zip(offsets).find(|(field, _)| field.name == name).ok_or_else(|| odd(name))?;
        place(record.at, offset.size_wasm32(), *ty)
    }

    /// What an option holds when it is some, a result when it is `ok`.
    pub(super) fn inner(&self, of: Place) -> Result<Place, Error> {
        match self.kind(of.ty)? {
            TypeDefKind::Option(some) => self.payload(of, [Some(some)], Some(some)),
            TypeDefKind::Result(result) => {
                self.payload(of, [result.ok.as_ref(), result.err.as_ref()], result.ok.as_ref())
            }
            _ => Err(odd("option or result")),
        }
    }

    /// What a result holds when it is `err`.
    pub(super) fn err(&self, of: Place) -> Result<Place, Error> {
        match self.kind(of.ty)? {
            TypeDefKind::Result(result) => {
                self.payload(of, [result.ok.as_ref(), result.err.as_ref()], result.err.as_ref())
            }
            _ => Err(odd("result")),
        }
    }

    /// The number of a variant's case, and what it holds.
    pub(super) fn case(&self, of: Place, name: &str) -> Result<(u32, Place), Error> {
        let TypeDefKind::Variant(variant) = self.kind(of.ty)? else { return Err(odd("variant")) };
        let (number, case) = (0..).zip(&variant.cases).find(|(_, case)| case.name == name).ok_or_else(|| odd(name))?;
        Ok((number, self.payload(of, variant.cases.iter().map(|case| case.ty.as_ref()), case.ty.as_ref())?))
    }

    /// Behind a discriminant of one byte.
    fn payload<'a>(
        &self,
        of: Place,
        cases: impl IntoIterator<Item = Option<&'a Type>>,
        this: Option<&Type>,
    ) -> Result<Place, Error> {
        let offset = self.sizes.payload_offset(wit_parser::Int::U8, cases);
        place(of.at, offset.size_wasm32(), *this.ok_or_else(|| odd("payload"))?)
    }
}

fn place(base: u32, offset: usize, ty: Type) -> Result<Place, Error> {
    let offset = u32::try_from(offset).map_err(|_| odd("small type"))?;
    Ok(Place { at: base.checked_add(offset).ok_or_else(|| odd("room"))?, ty })
}
