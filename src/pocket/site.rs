//! The site: every row of every DocType in memory, and the life of a document (read, insert, update, submit, cancel, rename, delete).
//!
//! A `Site` is cheap to clone, because its rows are shared: the router takes a clone before each request and puts it back where Frappe
//! would have rolled back, which is after every error and after every GET that did not commit by itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::pocket::doctype::{Access, DOCTYPES, DocType, Naming, Shape};
use crate::pocket::document::{self, CANCELLED, DRAFT, Document, SUBMITTED, docstatus, folded, text};
use crate::pocket::fault::{Fault, Kind, random_name};
use crate::pocket::reply::{now_text, today_text};

/// Rows of one doctype; a demo that is left running must not eat the machine.
const ROWS_MAX: usize = 10_000;

/// Characters of a document name, as wide as Frappe's column.
const NAME_CHARS_MAX: usize = 140;

/// Every row, and what goes with them. No `Debug`: it holds passwords.
#[derive(Clone, Default)]
pub(super) struct Site {
    tables: BTreeMap<&'static str, Arc<Table>>,
    /// The last number that each naming series gave out.
    series: BTreeMap<&'static str, u32>,
    passwords: BTreeMap<String, String>,
}

/// Rows by folded name, since document names are case-insensitive (T280g).
type Table = BTreeMap<String, Arc<Document>>;

/// What a user wants to do to a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    Read,
    Write,
    Create,
    Submit,
    Delete,
}

impl Site {
    pub fn find(&self, doctype: &str, name: &str) -> Option<Arc<Document>> {
        self.tables.get(doctype)?.get(&folded(name)).cloned()
    }

    /// All documents of a doctype; the child rows of all their parents, for a child doctype.
    pub fn rows(&self, doctype: &DocType) -> Vec<Arc<Document>> {
        if doctype.shape != Shape::Child {
            return self.tables.get(doctype.name).map(|table| table.values().cloned().collect()).unwrap_or_default();
        }
        let mut rows = Vec::new();
        for parent in DOCTYPES.iter().filter(|parent| parent.tables().any(|(_, child)| child.name == doctype.name)) {
            for document in self.rows(parent) {
                let own = document::children(parent, &document).filter(|(_, child, ..)| child.name == doctype.name);
                rows.extend(own.map(|(.., row)| Arc::new(row.clone())));
            }
        }
        rows
    }

    /// Guest has no rights, a System Manager has all, everybody else has what the doctype gives to users.
    pub fn may(&self, user: &str, doctype: &DocType, right: Right) -> bool {
        let allowed = self.is_manager(user) || (user != "Guest" && doctype.access == Access::Users && right != Right::Delete);
        allowed && (right != Right::Submit || doctype.shape == Shape::Submittable)
    }

    pub fn is_manager(&self, user: &str) -> bool {
        let Some(doctype) = DocType::find("User") else { return false };
        user == "Administrator"
            || self
                .find("User", user)
                .is_some_and(|user| document::children(doctype, &user).any(|(.., role)| text(role, "role") == Some("System Manager")))
    }

    pub fn full_name(&self, user: &str) -> String {
        self.find("User", user).and_then(|user| text(&user, "full_name").map(str::to_owned)).unwrap_or_else(|| user.to_owned())
    }

    /// Writes one column of a row past all checks, as `frappe.db.set_value` does. A row that is not there is passed over.
    pub fn set(&mut self, doctype: &str, name: &str, column: &str, value: impl Into<Value>) {
        let Some(doctype) = DocType::find(doctype) else { return };
        if let Some(row) = self.table(doctype).get_mut(&folded(name)) {
            Arc::make_mut(row).insert(column.to_owned(), value.into());
        }
    }

    /// Drops rows until one more fits into `rows_max`: those that are spent first, then the oldest.
    pub fn make_room(&mut self, doctype: &str, rows_max: usize, spent: fn(&Document) -> bool) {
        let Some(doctype) = DocType::find(doctype) else { return };
        let table = self.table(doctype);
        while table.len() >= rows_max.max(1) {
            let order = |row: &Document| (!spent(row), text(row, "creation").unwrap_or_default().to_owned());
            let Some(first) = table.iter().min_by_key(|(_, row)| order(row)).map(|(name, _)| name.clone()) else { return };
            table.remove(&first);
        }
    }

    /// Sets the times of a row, for rows that are older than the process.
    pub fn backdate(&mut self, doctype: &str, name: &str, time: &str) {
        let Some(doctype) = DocType::find(doctype) else { return };
        let Some(row) = self.table(doctype).get_mut(&folded(name)) else { return };
        let row = Arc::make_mut(row);
        for column in ["creation", "modified"] {
            row.insert(column.to_owned(), time.into());
        }
        document::adopt_children(doctype, row);
    }

    pub fn set_password(&mut self, user: &str, password: &str) {
        self.passwords.insert(folded(user), password.to_owned());
    }

    /// The user's name as stored, where the password is theirs.
    pub fn user_with_password(&self, user: &str, password: &str) -> Option<String> {
        let known = self.passwords.get(&folded(user)).is_some_and(|stored| stored == password);
        let user = self.find("User", user).filter(|user| known && user.get("enabled").map(document::number) != Some(0.0))?;
        text(&user, "name").map(str::to_owned)
    }

    pub fn read(&self, user: &str, doctype: &str, name: &str) -> Result<Arc<Document>, Fault> {
        let (doctype, document) = self.locate(doctype, name)?;
        self.permit(user, doctype, name, Right::Read)?;
        Ok(document)
    }

    pub fn insert(&mut self, user: &str, doctype: &str, values: &Document) -> Result<Arc<Document>, Fault> {
        let doctype = DocType::find(doctype).ok_or_else(|| Fault::no_doctype_module(doctype))?;
        self.permit(user, doctype, "", Right::Create)?;
        if doctype.shape == Shape::Child || self.tables.get(doctype.name).is_some_and(|table| table.len() >= ROWS_MAX) {
            return Err(Fault::thrown(Kind::Validation, format!("{} takes no more rows", doctype.name)));
        }
        let mut document = document::fresh(doctype, values)?;
        document::settle(doctype, &mut document, &|doctype, name| self.find(doctype, name));
        let name = self.new_name(doctype, &document)?;
        if self.find(doctype.name, &name).is_some() {
            return Err(duplicate(doctype, &name));
        }
        let now = now_text();
        document.extend([
            ("name".to_owned(), name.clone().into()),
            ("owner".to_owned(), user.into()),
            ("creation".to_owned(), now.clone().into()),
            ("modified".to_owned(), now.into()),
            ("modified_by".to_owned(), user.into()),
            ("docstatus".to_owned(), DRAFT.into()),
            ("idx".to_owned(), 0.into()),
        ]);
        let document = self.write(doctype, &name, document)?;
        self.take_password(doctype, &name, values);
        if values.get("docstatus").map(document::number) == Some(1.0) {
            return self.change_docstatus(user, doctype.name, &name, SUBMITTED);
        }
        Ok(document)
    }

    pub fn update(&mut self, user: &str, doctype: &str, name: &str, values: &Document) -> Result<Arc<Document>, Fault> {
        let (doctype, stored) = self.locate(doctype, name)?;
        self.permit(user, doctype, name, Right::Write)?;
        let now = now_text();
        let modified = text(&stored, "modified").unwrap_or_default();
        if text(values, "modified").is_some_and(|seen| seen != modified) {
            return Err(Fault::thrown(
                Kind::TimestampMismatch,
                format!(
                    "Error: Document has been modified after you have opened it ({modified}, {now}). Please refresh to get the latest document."
                ),
            ));
        }
        let wanted = values.get("docstatus").map_or(docstatus(&stored), |value| document::number(value) as u64);
        if wanted != docstatus(&stored) {
            return self.change_docstatus(user, doctype.name, name, wanted);
        }
        if wanted != DRAFT {
            let text = if wanted == CANCELLED { "Cannot edit cancelled document" } else { "Not allowed to change values after submission" };
            return Err(Fault::thrown(Kind::Validation, text));
        }
        let mut document = Document::clone(&stored);
        document::apply(doctype, &mut document, values)?;
        let stored_name = text(&stored, "name").unwrap_or(name).to_owned();
        let document = self.rewrite(doctype, &stored_name, document, user, now)?;
        self.take_password(doctype, &stored_name, values);
        Ok(document)
    }

    /// Submits (1) or cancels (2).
    pub fn change_docstatus(&mut self, user: &str, doctype: &str, name: &str, wanted: u64) -> Result<Arc<Document>, Fault> {
        let (doctype, stored) = self.locate(doctype, name)?;
        let current = docstatus(&stored);
        if (current, wanted) != (DRAFT, SUBMITTED) && (current, wanted) != (SUBMITTED, CANCELLED) {
            let word = |status| ["Draft", "Submitted", "Cancelled"].get(status as usize).copied().unwrap_or("Unknown");
            let text = format!("Cannot change docstatus from {current} ({}) to {wanted} ({})", word(current), word(wanted));
            return Err(Fault::bare(Kind::DocstatusTransition, text));
        }
        self.permit(user, doctype, name, Right::Submit)?;
        let mut document = Document::clone(&stored);
        document.insert("docstatus".to_owned(), wanted.into());
        let stored_name = text(&stored, "name").unwrap_or(name).to_owned();
        self.rewrite(doctype, &stored_name, document, user, now_text())
    }

    pub fn delete(&mut self, user: &str, doctype: &str, name: &str) -> Result<(), Fault> {
        let (doctype, document) = self.locate(doctype, name)?;
        if !self.may(user, doctype, Right::Delete) {
            return Err(Fault::delete_forbidden(user, doctype.name, name));
        }
        if docstatus(&document) == SUBMITTED {
            let text = format!("{} {name}: Submitted Record cannot be deleted. You must Cancel it first.", doctype.name);
            return Err(Fault::thrown(Kind::Validation, text));
        }
        if let Some((other, other_name)) = self.linked_from(doctype, name) {
            let anchor = |doctype: &str, name: &str| format!("<a href=\"/app/Form/{doctype}/{name}\">{name}</a>");
            let text = format!(
                "Cannot delete or cancel because {} {} is linked with {other} {} ",
                doctype.name,
                anchor(doctype.name, name),
                anchor(other, &other_name)
            );
            return Err(Fault::thrown(Kind::LinkExists, text));
        }
        self.table(doctype).remove(&folded(name));
        Ok(())
    }

    /// Renames a document and every link to it. With `merge`, the new name must exist and the old document is **gone** (T261).
    pub fn rename(&mut self, user: &str, doctype: &str, old: &str, new: &str, merge: bool) -> Result<String, Fault> {
        let (doctype, stored) = self.locate(doctype, old)?;
        self.permit(user, doctype, old, Right::Write)?;
        if !doctype.renamable {
            return Err(Fault::thrown(Kind::Validation, format!("{} not allowed to be renamed", doctype.name)));
        }
        let taken = self.find(doctype.name, new).is_some();
        if taken != merge || new.is_empty() || new.chars().count() > NAME_CHARS_MAX {
            let text = if merge { "does not exist, select a new target to merge" } else { "exists, select another name" };
            return Err(Fault::thrown(Kind::Validation, format!("{} {new} {text}", doctype.name)));
        }
        self.table(doctype).remove(&folded(old));
        if !merge {
            let mut document = Document::clone(&stored);
            document.insert("name".to_owned(), new.into());
            if let Naming::Field(field) = doctype.naming {
                document.insert(field.to_owned(), new.into());
            }
            document::adopt_children(doctype, &mut document);
            self.table(doctype).insert(folded(new), Arc::new(document));
        }
        for other in DOCTYPES.iter().filter(|other| other.shape != Shape::Child) {
            for document in self.table(other).values_mut() {
                if document::links_to(other, document, doctype.name, old) {
                    document::relink(other, Arc::make_mut(document), doctype.name, old, new);
                }
            }
        }
        Ok(new.to_owned())
    }

    fn locate(&self, doctype: &str, name: &str) -> Result<(&'static DocType, Arc<Document>), Fault> {
        let doctype = DocType::find(doctype).ok_or_else(|| Fault::no_doctype_module(doctype))?;
        let document = self.find(doctype.name, name).ok_or_else(|| Fault::not_found(doctype.name, name))?;
        Ok((doctype, document))
    }

    fn permit(&self, user: &str, doctype: &DocType, name: &str, right: Right) -> Result<(), Fault> {
        let word = match right {
            Right::Read => "read",
            Right::Write => "write",
            Right::Create => "create",
            Right::Submit => "submit",
            Right::Delete => "delete",
        };
        if self.may(user, doctype, right) { Ok(()) } else { Err(Fault::document_forbidden(user, doctype.name, name, word)) }
    }

    fn rewrite(
        &mut self,
        doctype: &'static DocType,
        name: &str,
        mut document: Document,
        user: &str,
        now: String,
    ) -> Result<Arc<Document>, Fault> {
        document::settle(doctype, &mut document, &|doctype, name| self.find(doctype, name));
        document.insert("modified".to_owned(), now.into());
        document.insert("modified_by".to_owned(), user.into());
        self.write(doctype, name, document)
    }

    fn write(&mut self, doctype: &'static DocType, name: &str, mut document: Document) -> Result<Arc<Document>, Fault> {
        document::adopt_children(doctype, &mut document);
        let document = document::ordered(doctype, document);
        document::check(doctype, &document, &|doctype, name| self.find(doctype, name))?;
        self.check_unique(doctype, name, &document)?;
        let document = Arc::new(document);
        self.table(doctype).insert(folded(name), Arc::clone(&document));
        Ok(document)
    }

    fn check_unique(&self, doctype: &DocType, name: &str, document: &Document) -> Result<(), Fault> {
        for field in doctype.fields.iter().filter(|field| field.unique) {
            let Some(value) = text(document, field.name).filter(|value| !value.is_empty()) else { continue };
            let taken = |row: &Arc<Document>| {
                text(row, field.name).map(folded) == Some(folded(value)) && text(row, "name").map(folded) != Some(folded(name))
            };
            if self.rows(doctype).iter().any(taken) {
                let text =
                    format!("('{}', '{name}', IntegrityError(1062, \"Duplicate entry '{value}' for key '{}'\"))", doctype.name, field.name);
                let message = format!("{} must be unique", field.label);
                return Err(Fault::bare(Kind::UniqueValidation, text)
                    .with_message(json!({"message": message, "title": "Message", "indicator": "red"})));
            }
        }
        Ok(())
    }

    fn new_name(&mut self, doctype: &'static DocType, document: &Document) -> Result<String, Fault> {
        let name = match doctype.naming {
            _ if doctype.shape == Shape::Single => doctype.name.to_owned(),
            Naming::Random => random_name(),
            Naming::Series(prefix) => {
                let next = self.series.entry(doctype.name).or_default();
                *next += 1;
                format!("{prefix}-{}-{next:05}", &today_text()[..4])
            }
            Naming::Field(field) => text(document, field).unwrap_or_default().trim().to_owned(),
        };
        let label =
            if let Naming::Field(field) = doctype.naming { doctype.field(field).map_or(field, |field| field.label) } else { "Name" };
        if name.is_empty() {
            return Err(Fault::thrown(Kind::Validation, format!("{label} is required")));
        }
        if name.chars().count() > NAME_CHARS_MAX || name.contains(['<', '>']) {
            return Err(Fault::thrown(Kind::Validation, format!("{label} is not a valid name")));
        }
        Ok(name)
    }

    /// `new_password` is no column: it sets the password, of anybody whom the caller may write (T506).
    fn take_password(&mut self, doctype: &DocType, name: &str, values: &Document) {
        if doctype.name == "User"
            && let Some(Value::String(password)) = values.get("new_password")
        {
            self.set_password(name, password);
        }
    }

    fn linked_from(&self, doctype: &DocType, name: &str) -> Option<(&'static str, String)> {
        DOCTYPES.iter().filter(|other| other.shape != Shape::Child).find_map(|other| {
            let table = self.tables.get(other.name)?;
            let found = table.values().find(|row| docstatus(row) != CANCELLED && document::links_to(other, row, doctype.name, name))?;
            Some((other.name, text(found, "name")?.to_owned()))
        })
    }

    fn table(&mut self, doctype: &'static DocType) -> &mut Table {
        Arc::make_mut(self.tables.entry(doctype.name).or_default())
    }
}

/// T407: the message is not part of the exception.
fn duplicate(doctype: &DocType, name: &str) -> Fault {
    let text = format!("('{0}', '{name}', IntegrityError(1062, \"Duplicate entry '{name}' for key 'PRIMARY'\"))", doctype.name);
    let message = format!("{} <strong>{name}</strong> already exists", doctype.name);
    Fault::bare(Kind::DuplicateEntry, text).with_message(json!({"message": message, "title": "Duplicate Name", "indicator": "red"}))
}
