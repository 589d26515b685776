//! Frappe's own functions that are generally useful, each read in the source of v15.44.2.
//!
//! The rule was: an effect is the worst that the function does; where it depends on an argument, that argument is refused or the
//! function has no entry. Reads may leave marks of having been read (`_seen`, an access log: FACTS R15) and nothing else. What runs a
//! method, a template or a query that a caller names has no entry: `make_mapped_doc`, `get_all_nodes`, `report_to_pdf`.
//!
//! Reads go through by GET and POST. Writes never by GET, where Frappe would roll some back and commit others (FACTS R23).

use crate::policy::catalogue::{Methods, Rpc};
use crate::policy::scope::Effect;

pub(super) fn entries() -> Vec<Rpc> {
    let mut entries = Vec::with_capacity(160);
    entries.extend(session());
    entries.extend(client());
    entries.extend(lists());
    entries.extend(search());
    entries.extend(reports());
    entries.extend(forms());
    entries.extend(people());
    entries.extend(desk());
    entries.extend(workflow());
    entries.extend(files_and_prints());
    entries.extend(mail_and_contacts());
    entries
}

fn read(name: &'static str) -> Rpc {
    Rpc::new(name, Effect::Read, Methods::GET | Methods::POST)
}

fn write(name: &'static str) -> Rpc {
    Rpc::new(name, Effect::Write, Methods::POST | Methods::PUT)
}

fn delete(name: &'static str) -> Rpc {
    Rpc::new(name, Effect::Delete, Methods::POST | Methods::DELETE)
}

/// What is known about the site and the session; touches no doctype of the business.
fn session() -> Vec<Rpc> {
    vec![
        read("ping"),
        read("frappe.ping"),
        // Gone from v15, still there in v13 and v14.
        read("version"),
        read("frappe.auth.get_logged_user"),
        read("frappe.realtime.get_user_info"),
        read("frappe.client.get_time_zone"),
        read("frappe.apps.get_apps"),
        read("frappe.utils.change_log.get_versions"),
        read("frappe.geo.country_info.get_country_timezone_info"),
        read("frappe.core.api.file.get_max_file_size"),
        read("frappe.translate.get_all_languages").always("Language"),
    ]
}

/// `frappe/client.py`.
fn client() -> Vec<Rpc> {
    vec![
        read("frappe.client.get_list")
            .on("doctype")
            .maybe_on("parent")
            .fields("fields")
            .fields("group_by")
            .fields("order_by")
            .filters("filters")
            .filters("or_filters"),
        // It checks no permission at all: with filters on a secret field it would tell the field letter by letter.
        read("frappe.client.get_count").on("doctype").filters("filters"),
        read("frappe.client.get").on("doctype").maybe_on("parent").filters("filters"),
        read("frappe.client.get_value").on("doctype").maybe_on("parent").fields("fieldname").filters("filters"),
        read("frappe.client.get_single_value").on("doctype").fields("field"),
        read("frappe.client.has_permission").on("doctype"),
        read("frappe.client.get_doc_permissions").on("doctype"),
        read("frappe.client.is_document_amended").on("doctype"),
        read("frappe.client.validate_link").on("doctype").fields("fields"),
        write("frappe.client.insert").on_document("doc"),
        write("frappe.client.insert_many").on_documents("docs"),
        write("frappe.client.save").on_document("doc"),
        // The Python client says `doclist`, which older Frappe took.
        write("frappe.client.submit").maybe_document("doc").maybe_document("doclist"),
        // Voids the document and keeps it (FACTS W10).
        write("frappe.client.cancel").on("doctype"),
        write("frappe.client.set_value").on("doctype").maybe_document("fieldname"),
        write("frappe.client.bulk_update").on_documents("docs"),
        write("frappe.client.attach_file").on("doctype").always("File"),
        // Merging removes the old document (FACTS W7), renaming alone removes nothing; `force` skips the permission check.
        write("frappe.client.rename_doc").on("doctype").refusing("merge"),
        write("frappe.rename_doc").on("doctype").refusing("merge").refusing("force"),
        write("frappe.model.rename_doc.update_document_title").on("doctype").refusing("merge"),
        delete("frappe.client.delete").on("doctype"),
    ]
}

/// `frappe/desk/reportview.py` and `listview.py`. The first four hand every argument on to the query.
fn lists() -> Vec<Rpc> {
    let query = |name| {
        read(name)
            .on("doctype")
            .maybe_on("parent_doctype")
            .maybe_on("parenttype")
            .maybe_on("reference_doctype")
            .maybe_on("aggregate_on_doctype")
            .fields("fields")
            .fields("group_by")
            .fields("order_by")
            .fields("aggregate_on_field")
            .fields("pluck")
            .filters("filters")
            .filters("or_filters")
            // `user_settings` would be believed as the caller's saved filters, `run=0` answers with SQL.
            .refusing("user_settings")
            .refusing("run")
            .refusing("update")
    };
    vec![
        query("frappe.desk.reportview.get"),
        query("frappe.desk.reportview.get_list"),
        query("frappe.desk.reportview.get_count"),
        query("frappe.desk.reportview.export_query"),
        read("frappe.desk.reportview.get_stats").on("doctype").fields("stats").filters("filters"),
        read("frappe.desk.reportview.get_sidebar_stats").on("doctype").fields("stats").filters("filters"),
        // Up to ten at once, more in a background job.
        delete("frappe.desk.reportview.delete_items").on("doctype"),
        // `assigned_to` counts users over ToDo.
        read("frappe.desk.listview.get_group_by_count").on("doctype").fields("field").filters("current_filters").reaching_further(),
        read("frappe.desk.listview.get_list_settings").on("doctype").always("List View Settings"),
        write("frappe.desk.listview.set_list_settings").on("doctype").always("List View Settings"),
        read("frappe.model.utils.user_settings.get").on("doctype"),
        write("frappe.model.utils.user_settings.save").on("doctype"),
        // Whatever `action` is, it submits, cancels or updates. `data` may set `doctype` as any update may.
        write("frappe.desk.doctype.bulk_update.bulk_update.submit_cancel_or_update_docs").on("doctype").maybe_document("data"),
    ]
}

/// `frappe/desk/search.py` and the full-text search. `query` names a function that would run instead.
fn search() -> Vec<Rpc> {
    vec![
        read("frappe.desk.search.search_link")
            .on("doctype")
            .maybe_on("reference_doctype")
            .fields("searchfield")
            .filters("filters")
            .refusing("query"),
        read("frappe.desk.search.search_widget")
            .on("doctype")
            .maybe_on("reference_doctype")
            .fields("searchfield")
            .fields("filter_fields")
            .filters("filters")
            .refusing("query"),
        read("frappe.desk.search.get_link_title").on("doctype"),
        read("frappe.desk.search.get_names_for_mentions").always("User").always("User Group"),
        read("frappe.desk.link_preview.get_preview_data").on("doctype"),
        read("frappe.utils.global_search.search").maybe_on("doctype").reaching_further(),
        read("frappe.utils.global_search.web_search").reaching_further(),
    ]
}

/// Reports and charts read what their own definition says, so no narrow scope covers them.
fn reports() -> Vec<Rpc> {
    vec![
        // `custom_columns` adds columns of any doctype, `user` answers as somebody else.
        read("frappe.desk.query_report.run").always("Report").reaching_further().refusing("custom_columns").refusing("user"),
        read("frappe.desk.query_report.export_query").always("Report").reaching_further().refusing("custom_columns").refusing("user"),
        read("frappe.desk.query_report.get_script").always("Report").reaching_further(),
        read("frappe.desk.query_report.get_data_for_custom_field").on("doctype").fields("field"),
        // `chart` would be a chart of the caller's own making, over any doctype.
        read("frappe.desk.doctype.dashboard_chart.dashboard_chart.get")
            .always("Dashboard Chart")
            .filters("filters")
            .reaching_further()
            .refusing("chart"),
        read("frappe.desk.doctype.dashboard.dashboard.get_permitted_charts").always("Dashboard").always("Dashboard Chart"),
        read("frappe.desk.doctype.dashboard.dashboard.get_permitted_cards").always("Dashboard").always("Number Card"),
        read("frappe.core.doctype.prepared_report.prepared_report.download_attachment").always("Prepared Report").reaching_further(),
    ]
}

/// `frappe/desk/form/` and the views beside it.
fn forms() -> Vec<Rpc> {
    vec![
        // Marks the document as seen (FACTS R15); brings comments, mails, versions and shares along.
        read("frappe.desk.form.load.getdoc").on("doctype").reaching_further(),
        read("frappe.desk.form.load.get_docinfo").on("doctype").reaching_further().refusing("doc"),
        read("frappe.desk.form.load.getdoctype").on("doctype"),
        read("frappe.desk.form.load.get_communications").on("doctype").always("Communication"),
        read("frappe.desk.form.load.get_user_info_for_viewers").always("User"),
        read("frappe.desk.form.linked_with.get_linked_doctypes").on("doctype"),
        read("frappe.desk.form.linked_with.get_submitted_linked_docs").on("doctype").reaching_further(),
        read("frappe.desk.form.utils.get_next").on("doctype").fields("sort_field").filters("filters"),
        // `items` names further doctypes to count.
        read("frappe.desk.notifications.get_open_count").on("doctype").reaching_further().refusing("items"),
        write("frappe.desk.form.linked_with.cancel_all_linked_docs").on_documents("docs"),
        // Saves, submits, updates or cancels; new rows and old, never deletes the document.
        write("frappe.desk.form.save.savedocs").on_document("doc"),
        // The workflow arguments set any field to any value, `doctype` among them.
        write("frappe.desk.form.save.cancel").on("doctype").refusing("workflow_state_fieldname").refusing("workflow_state"),
        write("frappe.desk.form.utils.add_comment").on("reference_doctype").always("Comment"),
        write("frappe.desk.form.utils.update_comment").always("Comment"),
        delete("frappe.desk.form.utils.remove_attach").always("File"),
        write("frappe.model.document.unlock_document").on("doctype").refusing("args"),
        read("frappe.desk.calendar.get_events").on("doctype").fields("fields").fields("field_map").filters("filters"),
        write("frappe.desk.calendar.update_event").on_document("args"),
        write("frappe.desk.gantt.update_task").on_document("args"),
        read("frappe.desk.treeview.get_children").on("doctype"),
        write("frappe.desk.treeview.add_node").on("doctype").maybe_on("parenttype"),
        read("frappe.geo.utils.get_coords").on("doctype").filters("filters"),
        write("frappe.automation.doctype.auto_repeat.auto_repeat.make_auto_repeat").on("doctype").always("Auto Repeat"),
        write("frappe.automation.doctype.reminder.reminder.create_new_reminder").maybe_on("reminder_doctype").always("Reminder"),
    ]
}

/// Who is asked, told or let in: assignments, follows, shares, likes, tags.
fn people() -> Vec<Rpc> {
    // Without `args` the functions read the arguments themselves; with it, another doctype could stand inside. `ignore_permissions` is
    // an ordinary argument to Frappe, and is obeyed.
    let assign = |name| write(name).on("doctype").always("ToDo").refusing("args").refusing("ignore_permissions");
    vec![
        assign("frappe.desk.form.assign_to.add"),
        assign("frappe.desk.form.assign_to.add_multiple"),
        // These set the ToDo to cancelled or closed.
        assign("frappe.desk.form.assign_to.remove"),
        assign("frappe.desk.form.assign_to.remove_multiple"),
        assign("frappe.desk.form.assign_to.close"),
        write("frappe.desk.doctype.todo.todo.new_todo").always("ToDo"),
        read("frappe.desk.form.document_follow.get_follow_users").on("doctype").always("Document Follow"),
        write("frappe.desk.form.document_follow.follow_document").on("doctype").always("Document Follow"),
        delete("frappe.desk.form.document_follow.unfollow_document").on("doctype").always("Document Follow"),
        read("frappe.share.get_users").on("doctype").always("DocShare"),
        write("frappe.share.add").on("doctype").always("DocShare"),
        // Taking a like or a tag back also removes the row that mirrors the document's own `_liked_by` or `_user_tags`.
        write("frappe.desk.like.toggle_like").on("doctype"),
        write("frappe.desk.doctype.tag.tag.add_tag").on("dt").always("Tag"),
        write("frappe.desk.doctype.tag.tag.add_tags").on("dt").always("Tag"),
        write("frappe.desk.doctype.tag.tag.remove_tag").on("dt").always("Tag"),
        read("frappe.desk.doctype.tag.tag.get_tags").always("Tag"),
        read("frappe.desk.doctype.tag.tag.get_tags_list_for_awesomebar").always("Tag"),
        read("frappe.desk.doctype.tag.tag.get_tagged_docs").on("doctype"),
        read("frappe.desk.doctype.tag.tag.get_documents_for_tag").always("Tag Link").reaching_further(),
        read("frappe.social.doctype.energy_point_log.energy_point_log.get_energy_points").always("Energy Point Log"),
        read("frappe.social.doctype.energy_point_log.energy_point_log.get_reviews").on("doctype").always("Energy Point Log"),
        write("frappe.social.doctype.energy_point_log.energy_point_log.review").on_document("doc").always("Energy Point Log"),
        read("frappe.desk.page.user_profile.user_profile.get_energy_points_list").always("Energy Point Log"),
    ]
}

/// Notifications, notes, boards, discussions. The functions that move cards write to whatever doctype the board names, and have no entry.
fn desk() -> Vec<Rpc> {
    vec![
        read("frappe.desk.notifications.get_notifications").reaching_further(),
        read("frappe.desk.doctype.notification_log.notification_log.get_notification_logs").always("Notification Log"),
        write("frappe.desk.doctype.notification_log.notification_log.mark_as_read").always("Notification Log"),
        write("frappe.desk.doctype.notification_log.notification_log.mark_all_as_read").always("Notification Log"),
        read("frappe.desk.doctype.notification_settings.notification_settings.get_subscribed_documents").always("Notification Settings"),
        write("frappe.desk.doctype.note.note.mark_as_seen").always("Note"),
        read("frappe.desk.doctype.event.event.get_events").always("Event").filters("filters"),
        read("frappe.desk.doctype.kanban_board.kanban_board.get_kanban_boards").on("doctype").always("Kanban Board"),
        write("frappe.desk.doctype.kanban_board.kanban_board.quick_kanban_board").on("doctype").always("Kanban Board"),
        write("frappe.desk.doctype.kanban_board.kanban_board.add_column").always("Kanban Board"),
        write("frappe.desk.doctype.kanban_board.kanban_board.archive_restore_column").always("Kanban Board"),
        write("frappe.desk.doctype.kanban_board.kanban_board.set_indicator").always("Kanban Board"),
        read("frappe.desk.desktop.get_workspace_sidebar_items").always("Workspace"),
        write("frappe.website.doctype.discussion_topic.discussion_topic.submit_discussion")
            .on("doctype")
            .always("Discussion Topic")
            .always("Discussion Reply"),
        delete("frappe.website.doctype.discussion_reply.discussion_reply.delete_message").always("Discussion Reply"),
    ]
}

/// `frappe/model/workflow.py`.
fn workflow() -> Vec<Rpc> {
    vec![
        // `workflow` would bring conditions of its own, which are evaluated.
        read("frappe.model.workflow.get_transitions").on_document("doc").refusing("workflow"),
        read("frappe.model.workflow.get_common_transition_actions").on("doctype").maybe_documents("docs"),
        read("frappe.model.workflow.can_cancel_document").on("doctype"),
        read("frappe.workflow.doctype.workflow.workflow.get_workflow_state_count").on("doctype").fields("workflow_state_field"),
        write("frappe.model.workflow.apply_workflow").on_document("doc"),
        write("frappe.model.workflow.bulk_workflow_approval").on("doctype"),
    ]
}

/// Files, uploads, PDF.
fn files_and_prints() -> Vec<Rpc> {
    // `method` runs another function without the check of its HTTP method (T237, T238).
    let upload = |name| write(name).maybe_on("doctype").always("File").refusing("method");
    vec![
        upload("upload_file"),
        upload("frappe.handler.upload_file"),
        read("download_file").always("File"),
        read("frappe.handler.download_file").always("File"),
        read("frappe.core.api.file.get_attached_images").on("doctype").always("File"),
        read("frappe.core.api.file.get_files_in_folder").always("File"),
        read("frappe.core.api.file.get_files_by_search_text").always("File"),
        read("frappe.core.api.file.zip_files").always("File"),
        write("frappe.core.api.file.create_new_folder").always("File"),
        write("frappe.core.api.file.move_file").always("File"),
        // `doc` would be printed as it is handed in.
        read("frappe.utils.print_format.download_pdf").on("doctype").refusing("doc"),
        read("frappe.utils.print_format.download_multi_pdf").on("doctype"),
        read("frappe.utils.weasyprint.download_pdf").on("doctype"),
        // The argument `doc` is a doctype's name here; a document in its place is no name, and is refused.
        read("frappe.www.printview.get_html_and_style").on("doc"),
        read("frappe.www.printview.get_rendered_raw_commands").on("doc"),
    ]
}

/// Mails, contacts, addresses.
fn mail_and_contacts() -> Vec<Rpc> {
    vec![
        // Attachments are read by name without asking whether the caller may, and sent to anybody.
        write("frappe.core.doctype.communication.email.make").maybe_on("doctype").always("Communication").refusing("attachments"),
        write("frappe.email.inbox.mark_as_closed_open").always("Communication"),
        write("frappe.email.inbox.mark_as_trash").always("Communication"),
        read("frappe.email.doctype.email_template.email_template.get_email_template").maybe_document("doc").always("Email Template"),
        read("frappe.email.get_contact_list").always("Contact").filters("extra_filters"),
        read("frappe.contacts.doctype.contact.contact.get_contact_details").always("Contact"),
        read("frappe.contacts.doctype.address.address.get_default_address").on("doctype").always("Address"),
        read("frappe.contacts.doctype.address.address.get_address_display").always("Address"),
        read("frappe.core.doctype.sms_settings.sms_settings.get_contact_number").on("ref_doctype").always("Contact"),
        // It leaves the site: neither read nor write says that.
        Rpc::new("frappe.core.doctype.sms_settings.sms_settings.send_sms", Effect::Call, Methods::POST),
    ]
}
