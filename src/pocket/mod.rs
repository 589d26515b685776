//! pocket ERP: an in-memory Frappe-style upstream for `demo` and the tests.
