//! The RPC catalogue: what a whitelisted function does, and where its arguments say to what.
//!
//! The HTTP method tells nothing (FACTS section 1, point 2), so each function has an effect of its own here, and a function without an
//! entry has none. An entry also says which arguments name a doctype, which ones name fields, and which ones turn the function into
//! another one (`upload_file?method=`, T237), so that `read:lead` means the same on `/api/method` as on `/api/resource`.
//!
//! The gate reads these promises strictly: an argument that an entry lists and that has not the listed form is refused, not skipped.

mod builtin;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::BitOr;

use crate::policy::scope::Effect;
use crate::policy::sensitive;

/// Text that is static in the built-in entries and owned in the operator's.
pub type Text = Cow<'static, str>;

/// Where an RPC names a doctype that it works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DoctypeAt {
    /// The argument is the name itself: `doctype=Lead`. Anything but text is refused (`download_multi_pdf` takes an object there).
    Name(Text),
    /// The argument is a document, an object or the JSON text of one: its `doctype`, and its `parenttype` where it has one, because
    /// saving a child row saves its parent.
    Document(Text),
    /// The argument is a list of documents, or the JSON text of one.
    Documents(Text),
}

impl DoctypeAt {
    /// The argument's name.
    pub fn argument(&self) -> &str {
        match self {
            Self::Name(argument) | Self::Document(argument) | Self::Documents(argument) => argument,
        }
    }
}

/// Where an RPC names fields, which may be secret ones ([`sensitive::secret_field`]) or lead into another doctype.
///
/// Frappe swaps `fields` and `filters` when they look swapped, so both are to be read in either form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryAt {
    /// Field names or expressions: text, a list, an object whose values are fields, or the JSON text of one of these.
    Fields(Text),
    /// Frappe's filters: a list of `[field, operator, value]` or `[doctype, field, operator, value]`, an object by field, a document's
    /// name, or the JSON text of one of these.
    Filters(Text),
}

impl QueryAt {
    /// The argument's name.
    pub fn argument(&self) -> &str {
        match self {
            Self::Fields(argument) | Self::Filters(argument) => argument,
        }
    }
}

/// One RPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rpc {
    /// The dotted name, or one of Frappe's shorthands such as `upload_file`.
    pub name: Text,
    /// The worst that it does.
    pub effect: Effect,
    /// The HTTP methods that are let through; never more than Frappe takes for it.
    pub methods: Methods,
    /// Places that must name a doctype; every doctype found must be permitted. With `optional` and `fixed` empty too, the RPC touches
    /// no doctype, and no narrow scope on a doctype allows it.
    pub doctypes: Vec<DoctypeAt>,
    /// Places that may name one, and count where they do. A [`DoctypeAt::Document`] here may be anything, and counts if it is a
    /// document that names its doctype: `set_value` takes an object of values in `fieldname`, and Frappe lets that set `doctype`.
    pub optional: Vec<DoctypeAt>,
    /// Doctypes that it works on whatever its arguments say.
    pub fixed: Vec<Text>,
    /// It reaches doctypes that neither arguments nor `fixed` tell: only a broad scope allows it. The doctypes that are named are
    /// still to be checked, for protection.
    pub wide: bool,
    /// Arguments that name fields.
    pub query: Vec<QueryAt>,
    /// Arguments that would make it something else. Their presence is refused, whatever the value: Frappe does not agree with itself
    /// on whether `"0"` and `"false"` are true.
    pub refused_args: Vec<Text>,
}

impl Rpc {
    /// An RPC that touches no doctype; the functions below add to it.
    pub fn new(name: impl Into<Text>, effect: Effect, methods: Methods) -> Self {
        Self {
            name: name.into(),
            effect,
            methods,
            doctypes: Vec::new(),
            optional: Vec::new(),
            fixed: Vec::new(),
            wide: false,
            query: Vec::new(),
            refused_args: Vec::new(),
        }
    }

    pub fn on(mut self, argument: impl Into<Text>) -> Self {
        self.doctypes.push(DoctypeAt::Name(argument.into()));
        self
    }

    pub fn on_document(mut self, argument: impl Into<Text>) -> Self {
        self.doctypes.push(DoctypeAt::Document(argument.into()));
        self
    }

    pub fn on_documents(mut self, argument: impl Into<Text>) -> Self {
        self.doctypes.push(DoctypeAt::Documents(argument.into()));
        self
    }

    pub fn maybe_on(mut self, argument: impl Into<Text>) -> Self {
        self.optional.push(DoctypeAt::Name(argument.into()));
        self
    }

    pub fn maybe_document(mut self, argument: impl Into<Text>) -> Self {
        self.optional.push(DoctypeAt::Document(argument.into()));
        self
    }

    pub fn maybe_documents(mut self, argument: impl Into<Text>) -> Self {
        self.optional.push(DoctypeAt::Documents(argument.into()));
        self
    }

    pub fn always(mut self, doctype: impl Into<Text>) -> Self {
        self.fixed.push(doctype.into());
        self
    }

    pub fn reaching_further(mut self) -> Self {
        self.wide = true;
        self
    }

    pub fn fields(mut self, argument: impl Into<Text>) -> Self {
        self.query.push(QueryAt::Fields(argument.into()));
        self
    }

    pub fn filters(mut self, argument: impl Into<Text>) -> Self {
        self.query.push(QueryAt::Filters(argument.into()));
        self
    }

    pub fn refusing(mut self, argument: impl Into<Text>) -> Self {
        self.refused_args.push(argument.into());
        self
    }

    /// Whether `argument` must not be there.
    pub fn refuses(&self, argument: &str) -> bool {
        self.refused_args.iter().any(|refused| refused == argument)
    }

    /// Whether a narrow scope on doctypes can be enough for it.
    pub fn narrow(&self) -> bool {
        let told = !self.doctypes.is_empty() || !self.optional.is_empty() || !self.fixed.is_empty();
        told && !self.wide
    }
}

/// A set of the HTTP methods that Frappe calls functions with. HEAD and PATCH never do (FACTS section 5).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Methods(u8);

impl Methods {
    pub const NONE: Self = Self(0);
    pub const GET: Self = Self(1);
    pub const POST: Self = Self(2);
    pub const PUT: Self = Self(4);
    pub const DELETE: Self = Self(8);

    const NAMES: [(Self, &'static str); 4] = [(Self::GET, "GET"), (Self::POST, "POST"), (Self::PUT, "PUT"), (Self::DELETE, "DELETE")];

    /// The set of one method, by its case-sensitive name; `None` for any other method.
    pub fn named(method: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, name)| *name == method).map(|(one, _)| *one)
    }

    pub fn allow(self, method: &str) -> bool {
        Self::named(method).is_some_and(|one| self.contain(one))
    }

    /// Whether every method of `other` is in this set.
    pub const fn contain(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names, as an `Allow` header lists them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(one, _)| self.contain(*one)).map(|(_, name)| name)
    }
}

impl BitOr for Methods {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// Arguments in which Frappe's functions use to name doctypes. For an RPC that is allowed without an entry (by `all`, or by a scope
/// on a prefix) they are all that can be checked for protected doctypes.
const USUAL_NAMES: [&str; 14] = [
    "doctype",
    "dt",
    "doc_type",
    "document_type",
    "parent_doctype",
    "parenttype",
    "parent_type",
    "reference_doctype",
    "reference_dt",
    "reference_type",
    "ref_doctype",
    "link_doctype",
    "goal_doctype",
    "source_doctype",
];
const USUAL_DOCUMENTS: [&str; 7] = ["doc", "document", "args", "data", "source_doc", "target_doc", "doclist"];
const USUAL_LISTS: [&str; 3] = ["docs", "documents", "items"];

/// Every RPC with an entry: the built-in ones and the operator's.
#[derive(Clone, Debug)]
pub struct Catalogue {
    entries: HashMap<Text, Rpc, foldhash::fast::RandomState>,
    usual: Vec<DoctypeAt>,
}

impl Catalogue {
    /// The functions of Frappe v15 that are generally useful and do one thing.
    pub fn builtin() -> Self {
        let entries = builtin::entries().into_iter().map(|rpc| (rpc.name.clone(), rpc)).collect();
        let names = USUAL_NAMES.iter().map(|name| DoctypeAt::Name(Cow::Borrowed(name)));
        let documents = USUAL_DOCUMENTS.iter().map(|name| DoctypeAt::Document(Cow::Borrowed(name)));
        let lists = USUAL_LISTS.iter().map(|name| DoctypeAt::Documents(Cow::Borrowed(name)));
        Self { entries, usual: names.chain(documents).chain(lists).collect() }
    }

    /// Adds the operator's entries. One for a built-in name replaces it: the operator knows what an `override_whitelisted_methods` hook
    /// of the site has put behind that name.
    pub fn with(mut self, entries: Vec<Rpc>) -> Result<Self, String> {
        let mut seen = HashSet::new();
        for rpc in entries {
            let name = rpc.name.clone();
            if !is_rpc_name(&name) {
                return Err(format!("`{}` is no RPC: write its dotted name, as in `my_app.api.quote`", name.escape_debug()));
            }
            if sensitive::rpc_impossible(&name) {
                return Err(format!(
                    "RPC `{name}` cannot be let through: it would sign in, sign out or run any other method; remove its entry"
                ));
            }
            if rpc.methods == Methods::NONE {
                return Err(format!("RPC `{name}` has no HTTP method: name at least one of GET, POST, PUT and DELETE"));
            }
            if !seen.insert(name.clone()) {
                return Err(format!("RPC `{name}` has two entries: remove one"));
            }
            self.entries.insert(name, rpc);
        }
        Ok(self)
    }

    /// The entry of exactly this name.
    pub fn find(&self, name: &str) -> Option<&Rpc> {
        self.entries.get(name)
    }

    /// Every entry, in no order.
    pub fn entries(&self) -> impl Iterator<Item = &Rpc> {
        self.entries.values()
    }

    /// Where an RPC without an entry may name doctypes; read as [`Rpc::optional`] is.
    pub fn usual_places(&self) -> &[DoctypeAt] {
        &self.usual
    }
}

/// Whether `name` is one or more Python identifiers joined by dots.
fn is_rpc_name(name: &str) -> bool {
    name.split('.').all(|part| {
        part.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}
