//! A request becomes an operation, or a refusal: first its head, then, where it has one, its body.
//!
//! Two steps, because nobody's body is read before his token is. What goes upstream is built here from what was understood.

use std::borrow::Cow;

use crate::policy::arguments::{Arguments, Source, Value, check_key};
use crate::policy::catalogue::{Catalogue, DoctypeAt, QueryAt, Rpc};
use crate::policy::content_type::BodyKind;
use crate::policy::json::{self, Json};
use crate::policy::multipart::Field;
use crate::policy::operation::{Operation, Reach, Target, Verb};
use crate::policy::path::{self, Api, Route};
use crate::policy::query::Pairs;
use crate::policy::reach;
use crate::policy::refusal::{Reason, Refusal};
use crate::policy::scope::Effect;
use crate::policy::sensitive::{self, Protection};

/// What answers `/api/v2/doctype/<doctype>/count`.
const COUNT: &str = "frappe.desk.reportview.get_count";

/// What holds for one site.
pub struct Rules {
    pub catalogue: Catalogue,
    /// Doctypes and RPCs that the operator opened although they are sensitive.
    pub opened: Vec<Box<str>>,
    /// Paths that the operator opened, the longest first.
    pub paths: Vec<OpenPath>,
}

/// `[[site.route]]`: a path outside `/api` (with a trailing slash, all below it), and the scope it asks for.
pub struct OpenPath {
    pub path: Box<str>,
    pub verbs: Vec<Verb>,
    pub scope: Box<str>,
}

/// The head of a request, as the rules need it.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    pub method: &'a str,
    /// Raw, without query.
    pub path: &'a str,
    pub query: Option<&'a str>,
    /// The only `Content-Type`, if any.
    pub content_type: Option<&'a [u8]>,
    /// Whether anything may follow the head.
    pub has_body: bool,
}

/// What is known of a request once its head is read.
#[derive(Debug)]
pub struct Draft<'a> {
    verb: Verb,
    route: Route<'a>,
    query: Pairs,
    /// How to read the body; `None` for none.
    pub body: Option<BodyKind>,
    raw_path: &'a str,
}

/// A body, read.
#[derive(Debug)]
pub enum Body<'b> {
    None,
    /// The bytes of a JSON or form body.
    Bytes(&'b [u8]),
    /// The fields of a multipart body that streamed by.
    Fields(Vec<Field>),
}

/// What was understood, and what to send.
#[derive(Debug)]
pub struct Classified<'a> {
    pub operation: Operation<'a>,
    pub verb: Verb,
    /// The path for the upstream; `None` where the client's own is it already.
    pub path: Option<String>,
    /// The query for the upstream, written anew; `None` for none.
    pub query: Option<String>,
    /// The body for the upstream, where it is not the bytes that came.
    pub body: Option<Vec<u8>>,
}

impl Draft<'_> {
    /// The target for the upstream, path and query, of a request whose body cannot change them.
    pub fn target(&self) -> String {
        let mut target = self.route.to_path();
        if !self.query.is_empty() {
            target.push('?');
            self.query.write(&mut target);
        }
        target
    }
}

impl Rules {
    /// Reads the head: method, path, query keys and kind of body.
    pub fn head<'a>(&self, head: Head<'a>) -> Result<Draft<'a>, Refusal> {
        let route = path::parse(head.path)?;
        let Some(verb) = Verb::parse(head.method) else {
            return Err(Refusal::method(Reason::MethodNotAllowed, "GET, HEAD, POST, PUT, DELETE", "no route takes this method"));
        };
        if head.has_body && !verb.takes_body() {
            return Err(Refusal::new(Reason::BodyNotAllowed, format!("a {} request has no body here", verb.as_str())));
        }
        let body = if head.has_body { Some(BodyKind::parse(head.content_type)?) } else { None };
        let query = Pairs::parse(head.query.unwrap_or_default().as_bytes(), Reason::QueryInvalid)?;
        let draft = Draft { verb, route, query, body, raw_path: head.path };
        self.check_verb(&draft)?;
        draft.query.iter().try_for_each(|(key, _)| check_key(key, matches!(draft.route, Route::Root)))?;
        Ok(draft)
    }

    fn check_verb(&self, draft: &Draft<'_>) -> Result<(), Refusal> {
        use Verb::{Delete, Get, Head, Patch, Post, Put};
        let not_allowed = |allow: &'static str| Err(method_not_allowed(allow));
        match (&draft.route, draft.verb) {
            (Route::Doctype { .. }, Get | Head | Post) => Ok(()),
            (Route::Doctype { .. }, Put | Patch | Delete) => not_allowed("GET, HEAD, POST"),
            (Route::Document { .. }, Get | Head | Put | Delete) => Ok(()),
            (Route::Document { api: Api::V2, .. }, Patch) => Ok(()),
            (Route::Document { api, .. }, Post) => Err(Refusal::method(
                Reason::DocumentMethod,
                if *api == Api::V2 { "GET, HEAD, PUT, PATCH, DELETE" } else { "GET, HEAD, PUT, DELETE" },
                "POST on a document runs one of its methods and updates nothing; use PUT to update it",
            )),
            (Route::Document { .. }, Patch) => not_allowed("GET, HEAD, PUT, DELETE"),
            (Route::Meta { .. } | Route::Count { .. }, Get | Head) => Ok(()),
            (Route::Meta { .. } | Route::Count { .. }, _) => not_allowed("GET, HEAD"),
            // Frappe answers HEAD and PATCH on functions with an error, or runs them (T531): neither is a call.
            (Route::Rpc { .. }, Get | Post | Put | Delete) => Ok(()),
            (Route::Rpc { .. }, Head | Patch) => not_allowed("GET, POST, PUT, DELETE"),
            (Route::Root, Get | Post) => Ok(()),
            (Route::Root, _) => not_allowed("GET, POST"),
            (Route::Other { path }, verb) => match self.open_path(path) {
                Some(open) if open.verbs.contains(&verb) => Ok(()),
                Some(open) => {
                    let allow = open.verbs.iter().map(|verb| verb.as_str()).collect::<Vec<_>>().join(", ");
                    Err(method_not_allowed(&allow))
                }
                None => Err(unrouted()),
            },
        }
    }

    fn open_path(&self, path: &str) -> Option<&OpenPath> {
        // `/files/` opens all below it; `/files` only itself.
        self.paths.iter().find(|open| *path == *open.path || (open.path.ends_with('/') && path.starts_with(&*open.path)))
    }

    /// Reads the body, if any, and says what the request would do.
    pub fn finish<'a>(&'a self, draft: Draft<'a>, body: Body<'_>) -> Result<Classified<'a>, Refusal> {
        let source = match (&draft.body, &body) {
            (Some(BodyKind::Json), Body::Bytes(bytes)) => Source::json(bytes)?,
            (Some(BodyKind::Form), Body::Bytes(bytes)) => Source::form(bytes)?,
            (Some(BodyKind::Multipart(_)), Body::Fields(fields)) => Source::multipart(fields.clone()),
            (None, _) => Source::None,
            (Some(_), _) => return Err(Refusal::new(Reason::BodyInvalid, "the body is missing")),
        };
        let Draft { verb, route, query, raw_path, .. } = draft;
        let is_root = matches!(route, Route::Root);
        let arguments = Arguments { query, body: source };
        arguments.check_keys(is_root)?;
        let operation = match &route {
            Route::Doctype { doctype, .. } => {
                check_document(&arguments, doctype, None)?;
                let target = Target::Doctype { doctype: doctype.clone() };
                self.on_doctype(verb.effect(), target, doctype, &arguments)?
            }
            Route::Document { doctype, name, .. } => {
                check_document(&arguments, doctype, Some(name))?;
                let target = Target::Document { doctype: doctype.clone(), name: name.clone() };
                self.on_doctype(verb.effect(), target, doctype, &arguments)?
            }
            Route::Meta { doctype } => self.on_doctype(Effect::Read, Target::Doctype { doctype: doctype.clone() }, doctype, &arguments)?,
            Route::Count { doctype } => self.count(doctype, &arguments)?,
            Route::Rpc { name, .. } => self.call(Cow::Borrowed(name), verb, &arguments)?,
            Route::Root => return self.root(verb, arguments, body),
            Route::Other { path } => {
                let open = self.open_path(path).ok_or_else(unrouted)?;
                let target = Target::Path { path: path.clone(), scope: &open.scope };
                Operation { effect: verb.effect(), target, reach: Reach::default() }
            }
        };
        let path = if path::is_canonical(raw_path) { None } else { Some(route.to_path()).filter(|path| path != raw_path) };
        let body = match &arguments.body {
            Source::Form(pairs) => Some(written(pairs).into_bytes()),
            Source::None | Source::Json(_) | Source::Multipart { .. } => None,
        };
        let query = (!arguments.query.is_empty()).then(|| written(&arguments.query));
        Ok(Classified { operation, verb, path, query, body })
    }

    /// `cmd` on the bare `/`, which the most used Python client of Frappe sends: taken as the RPC that it names, and sent as one.
    fn root<'a, 'b>(&'a self, verb: Verb, mut arguments: Arguments<'b>, body: Body<'b>) -> Result<Classified<'a>, Refusal> {
        let Some(name) = arguments.text("cmd")?.map(Cow::into_owned) else { return Err(unrouted()) };
        if !path::is_rpc_name(&name) {
            return Err(Refusal::new(Reason::ParameterInvalid, "`cmd` is not the dotted name of an RPC"));
        }
        let path = Route::Rpc { api: Api::Bare, name: &name }.to_path();
        arguments.query.remove("cmd");
        let body = match (&mut arguments.body, body) {
            (Source::Form(pairs), _) => {
                pairs.remove("cmd");
                Some(written(pairs).into_bytes())
            }
            (Source::Json(_), Body::Bytes(bytes)) => Some(
                json::without_member(bytes, "cmd")
                    .map_err(|error| Refusal::new(Reason::BodyInvalid, format!("the body cannot be read: {error}")))?,
            ),
            // A multipart body streams by as it is, and would carry its `cmd` along.
            (Source::Multipart { .. }, _) => {
                return Err(Refusal::new(Reason::BodyTypeUnsupported, "`cmd` on `/` is read from a query, a form or JSON"));
            }
            (Source::None | Source::Json(_), _) => None,
        };
        let operation = self.call(Cow::Owned(name), verb, &arguments)?;
        let query = (!arguments.query.is_empty()).then(|| written(&arguments.query));
        Ok(Classified { operation, verb, path: Some(path), query, body })
    }

    fn on_doctype<'a>(
        &self,
        effect: Effect,
        target: Target<'a>,
        doctype: &str,
        arguments: &Arguments<'_>,
    ) -> Result<Operation<'a>, Refusal> {
        self.check_doctype(doctype, effect)?;
        let mut reach = if effect == Effect::Read { self.reach(arguments, effect, Some(doctype), &[])? } else { Reach::default() };
        if effect == Effect::Write {
            self.reach_of_parent(arguments, doctype, &mut reach)?;
        }
        Ok(Operation { effect, target, reach })
    }

    /// A row for a child table is written into its parent: `parenttype` is a doctype that is written as well.
    fn reach_of_parent(&self, arguments: &Arguments<'_>, doctype: &str, reach: &mut Reach) -> Result<(), Refusal> {
        for_each_document(arguments, |document| {
            let Some(parent) = document("parenttype")? else { return Ok(()) };
            if parent != doctype && !parent.is_empty() {
                self.check_doctype(&parent, Effect::Write)?;
                // No narrow scope speaks of a row in another doctype's document.
                reach.open = true;
            }
            Ok(())
        })
    }

    /// `/api/v2/doctype/<doctype>/count` is the function [`COUNT`] with the doctype in the path: it takes all of its arguments.
    fn count<'a>(&self, doctype: &Cow<'a, str>, arguments: &Arguments<'_>) -> Result<Operation<'a>, Refusal> {
        let mut operation = self.on_doctype(Effect::Read, Target::Doctype { doctype: doctype.clone() }, doctype, arguments)?;
        if let Some(rpc) = self.catalogue.find(COUNT) {
            refuse_arguments(rpc, arguments)?;
            let mut others = Vec::new();
            for place in &rpc.optional {
                doctypes_at(place, arguments, false, &mut others)?;
            }
            others.iter().try_for_each(|other| self.check_doctype(other, Effect::Read))?;
            operation.reach = self.reach(arguments, Effect::Read, Some(doctype), &rpc.query)?;
            operation.reach.doctypes.extend(others.into_iter().filter(|other| other != doctype));
        }
        Ok(operation)
    }

    fn reach(&self, arguments: &Arguments<'_>, effect: Effect, own: Option<&str>, places: &[QueryAt]) -> Result<Reach, Refusal> {
        let reach = reach::reach(arguments, effect, own, places)?;
        reach.doctypes.iter().try_for_each(|doctype| self.check_doctype(doctype, Effect::Read))?;
        Ok(reach)
    }

    fn check_doctype(&self, doctype: &str, effect: Effect) -> Result<(), Refusal> {
        if !path::is_doctype(doctype) {
            return Err(Refusal::new(Reason::ParameterInvalid, "no DocType can have that name"));
        }
        let protection = sensitive::protection(doctype);
        if protection == Protection::None || self.opened.iter().any(|opened| sensitive::same_doctype(opened, doctype)) {
            return Ok(());
        }
        match (protection, effect) {
            (Protection::NoWrite, Effect::Read) | (Protection::None, _) => Ok(()),
            (Protection::NoWrite, _) => {
                Err(Refusal::new(Reason::DoctypeReadOnly, format!("{doctype} decides who may do what; it can only be read through here")))
            }
            (Protection::Forbidden, _) => {
                Err(Refusal::new(Reason::DoctypeForbidden, format!("{doctype} holds secrets or code; it cannot be reached through here")))
            }
        }
    }

    fn call<'a>(&self, name: Cow<'a, str>, verb: Verb, arguments: &Arguments<'_>) -> Result<Operation<'a>, Refusal> {
        let opened = || !sensitive::rpc_impossible(&name) && self.opened.iter().any(|opened| **opened == *name);
        if sensitive::rpc_forbidden(&name) && !opened() {
            return Err(Refusal::new(
                Reason::RpcForbidden,
                format!("{name} gives out secrets, or runs what its caller names; it cannot be called"),
            ));
        }
        let Some(rpc) = self.catalogue.find(&name) else {
            return self.call_unknown(name, arguments);
        };
        if !rpc.methods.allow(verb.as_str()) {
            let allow = rpc.methods.names().collect::<Vec<_>>().join(", ");
            return Err(Refusal::method(Reason::MethodNotAllowed, allow.clone(), format!("{name} is called with {allow}")));
        }
        refuse_arguments(rpc, arguments)?;
        let doctypes = doctypes_of(rpc, arguments)?;
        doctypes.iter().try_for_each(|doctype| self.check_doctype(doctype, rpc.effect))?;
        let own = match doctypes.as_slice() {
            [doctype] => Some(doctype.as_str()),
            _ => None,
        };
        let mut reach = self.reach(arguments, rpc.effect, own, &rpc.query)?;
        reach.open |= rpc.wide;
        Ok(Operation { effect: rpc.effect, target: Target::Rpc { name, doctypes }, reach })
    }

    /// An RPC without an entry: nobody knows what it does, so only a scope that names it can allow it. What it names in the usual
    /// places is still not to be touched where it is protected.
    fn call_unknown<'a>(&self, name: Cow<'a, str>, arguments: &Arguments<'_>) -> Result<Operation<'a>, Refusal> {
        let mut doctypes = Vec::new();
        for place in self.catalogue.usual_places() {
            doctypes_at(place, arguments, false, &mut doctypes)?;
        }
        for doctype in &doctypes {
            // An app may use these words for something else. A protected name with a blank or a mark around it is still one: the
            // database may not see the difference (T145).
            let kept = |letter: char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
            let plain: String = doctype.chars().filter(|letter| kept(*letter)).collect();
            let plain = plain.trim_matches(|edge: char| !edge.is_alphanumeric());
            if path::is_doctype(plain) {
                self.check_doctype(plain, Effect::Call)?;
            }
        }
        let reach = self.reach(arguments, Effect::Call, None, &[])?;
        Ok(Operation { effect: Effect::Call, target: Target::Rpc { name, doctypes: Vec::new() }, reach })
    }
}

fn refuse_arguments(rpc: &Rpc, arguments: &Arguments<'_>) -> Result<(), Refusal> {
    for refused in &rpc.refused_args {
        if arguments.value(refused)?.is_some() {
            return Err(Refusal::new(Reason::ParameterForbidden, format!("{} is let through only without `{refused}`", rpc.name)));
        }
    }
    Ok(())
}

fn doctypes_of(rpc: &Rpc, arguments: &Arguments<'_>) -> Result<Vec<String>, Refusal> {
    let mut doctypes: Vec<String> = rpc.fixed.iter().map(ToString::to_string).collect();
    for place in &rpc.doctypes {
        if !doctypes_at(place, arguments, true, &mut doctypes)? {
            return Err(Refusal::new(Reason::ParameterMissing, format!("the parameter `{}` is missing", place.argument())));
        }
    }
    for place in &rpc.optional {
        doctypes_at(place, arguments, false, &mut doctypes)?;
    }
    Ok(doctypes)
}

/// Adds the doctypes that `place` names, and says whether it names any. A place that must name one is read strictly: what is no
/// document with a doctype is refused there.
fn doctypes_at(place: &DoctypeAt, arguments: &Arguments<'_>, strict: bool, doctypes: &mut Vec<String>) -> Result<bool, Refusal> {
    let name = place.argument();
    let found = match place {
        DoctypeAt::Name(_) => arguments.text(name)?.filter(|text| !text.is_empty()).map(Cow::into_owned).into_iter().collect(),
        DoctypeAt::Document(_) => match arguments.value(name)? {
            None => Vec::new(),
            Some(value) => value.tree(name, |tree| doctypes_of_document(tree, name, strict))?,
        },
        DoctypeAt::Documents(_) => match arguments.value(name)? {
            None => Vec::new(),
            Some(value) => value.tree(name, |tree| match tree {
                Json::Array(documents) => {
                    let mut found = Vec::new();
                    for document in documents {
                        for doctype in doctypes_of_document(document, name, strict)? {
                            if !found.contains(&doctype) {
                                found.push(doctype);
                            }
                        }
                        if found.len() > reach::DOCTYPES_MAX {
                            return Err(reach::too_many_doctypes());
                        }
                    }
                    Ok(found)
                }
                _ if strict => Err(not_documents(name)),
                _ => Ok(Vec::new()),
            })?,
        },
    };
    let any = !found.is_empty();
    for doctype in found {
        if !doctypes.contains(&doctype) {
            doctypes.push(doctype);
        }
    }
    Ok(any)
}

/// A document's own doctype, and that of the document it is a row of.
fn doctypes_of_document(document: &Json<'_>, name: &str, strict: bool) -> Result<Vec<String>, Refusal> {
    let doctype = match document.member("doctype") {
        Some(Json::Text(doctype)) => doctype.clone().into_owned(),
        None if !strict => return Ok(Vec::new()),
        _ => return Err(not_documents(name)),
    };
    let parent = match document.member("parenttype") {
        None | Some(Json::Null) => None,
        Some(Json::Text(parent)) => Some(parent.clone().into_owned()).filter(|parent| !parent.is_empty() && *parent != doctype),
        Some(_) => return Err(not_documents(name)),
    };
    Ok([Some(doctype), parent].into_iter().flatten().collect())
}

fn not_documents(name: &str) -> Refusal {
    Refusal::new(Reason::ParameterInvalid, format!("the parameter `{name}` must hold documents, each with its `doctype`"))
}

/// Refuses a body that speaks of another document than the path: Frappe lets `doctype` and `name` in it change what is written.
fn check_document(arguments: &Arguments<'_>, doctype: &str, name: Option<&str>) -> Result<(), Refusal> {
    if matches!(arguments.body, Source::None) && arguments.query.is_empty() {
        return Ok(());
    }
    for_each_document(arguments, |document| {
        let other_doctype = document("doctype")?.is_some_and(|other| other != doctype);
        let other_name = match (name, document("name")?) {
            (Some(name), Some(other)) => other != name,
            _ => false,
        };
        if other_doctype || other_name {
            return Err(Refusal::new(Reason::DocumentMismatch, "the body speaks of another document than the path"));
        }
        Ok(())
    })
}

/// Shows `look` each object that Frappe could take for the document: the arguments themselves, and what `data` holds (T285).
fn for_each_document(
    arguments: &Arguments<'_>,
    mut look: impl FnMut(&dyn Fn(&str) -> Result<Option<String>, Refusal>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    look(&|key| match arguments.value(key)? {
        None => Ok(None),
        Some(Value::Text(text)) => Ok(Some(text.to_owned())),
        Some(Value::Json(json)) => scalar(key, json),
    })?;
    match arguments.value("data")? {
        None => Ok(()),
        Some(value) => value.tree("data", |tree| {
            if tree.as_object().is_none() {
                return Ok(());
            }
            look(&|key| tree.member(key).map_or(Ok(None), |json| scalar(key, json)))
        }),
    }
}

fn scalar(key: &str, json: &Json<'_>) -> Result<Option<String>, Refusal> {
    match json {
        Json::Null => Ok(None),
        Json::Text(text) => Ok(Some(text.clone().into_owned())),
        Json::Integer(number) => Ok(Some(number.to_string())),
        _ => Err(Refusal::new(Reason::ParameterInvalid, format!("the parameter `{key}` must be text"))),
    }
}

fn written(pairs: &Pairs) -> String {
    let mut text = String::new();
    pairs.write(&mut text);
    text
}

fn method_not_allowed(allow: &str) -> Refusal {
    Refusal::method(Reason::MethodNotAllowed, allow.to_owned(), format!("this route takes {allow}"))
}

fn unrouted() -> Refusal {
    Refusal::new(Reason::RouteUnknown, "there is no such route; documents live under `/api/resource/`, functions under `/api/method/`")
}

#[cfg(test)]
pub(in crate::policy) mod tests;
