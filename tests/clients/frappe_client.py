"""Drives the PyPI package `frappe-client` through a gate: `python frappe_client.py < demo.json`, the line that `scopegate demo --json` prints.

Nothing of the client is replaced. Two things it leaves to its caller are set here: the bearer on its session, and, for `insert_many`, the
name `frappe` that its module forgets to import. It raises only where an answer has an `exc`; a refusal without one would look like `None`.
"""

import json
import sys
import types

import frappeclient.frappeclient as module
import requests
from frappeclient import FrappeClient
from frappeclient.frappeclient import FrappeException

module.frappe = types.SimpleNamespace(as_json=json.dumps)


def client(demo, scope):
    it = FrappeClient(demo["base_url"], verify=demo["ca_file"])
    it.session.verify = demo["ca_file"]
    it.session.headers["Authorization"] = "Bearer " + demo["tokens"][scope]
    return it


def refused(what, call):
    """The call must raise what the client raises for an error of Frappe."""
    try:
        answer = call()
    except FrappeException as error:
        assert "scope" in str(error) or "ermission" in str(error), f"{what}: {error}"
        return
    raise AssertionError(f"{what} was not refused: {answer!r}")


def order(customer="Casa Verde"):
    return {"doctype": "Sales Order", "customer": customer, "items": [{"item_code": "ITEM-0001", "qty": 2}]}


def main():
    demo = json.load(sys.stdin)
    read, write, everything = (client(demo, scope) for scope in ("read", "read write", "read write delete"))

    # List and read.
    items = read.get_list("Item", fields=["name", "item_name"], filters={"item_group": "Lighting"}, limit_page_length=2, order_by="name asc")
    assert [sorted(item) for item in items] == [["item_name", "name"]] * 2, items
    assert read.get_doc("Item", items[0]["name"])["item_name"] == items[0]["item_name"]
    assert read.get_value("Item", "item_name", {"name": items[0]["name"]}) == {"item_name": items[0]["item_name"]}
    assert isinstance(read.get_api("frappe.auth.get_logged_user"), str)
    assert isinstance(read.post_api("frappe.client.get_count", {"doctype": "Item"}), int)

    # Create and update, by path and by `cmd` on `/`.
    lead = write.insert({"doctype": "Lead", "first_name": "Ida", "lead_name": "Ida Ügur", "company_name": "Größe & Söhne"})
    assert lead["company_name"] == "Größe & Söhne", lead
    changed = write.update({"doctype": "Lead", "name": lead["name"], "status": "Open"})
    assert changed["status"] == "Open", changed
    assert write.set_value("Lead", lead["name"], "mobile_no", "+49 30 1")["mobile_no"] == "+49 30 1"
    assert write.get_doc("Lead", lead["name"])["mobile_no"] == "+49 30 1"
    names = write.insert_many([{"doctype": "ToDo", "description": text} for text in ("one", "two")])
    assert len(names) == 2, names
    draft = write.insert(order())
    assert draft["docstatus"] == 0, draft
    submitted = write.submit(draft)
    assert submitted["docstatus"] == 1, submitted

    # Delete, which the client sends as a POST to `/`.
    everything.delete("ToDo", names[0])
    left = read.get_list("ToDo", fields=["name"], filters={"name": names[0]})
    assert left == [], left

    # Too little is refused, and the client says so.
    refused("insert with read", lambda: read.insert({"doctype": "Lead", "lead_name": "x"}))
    refused("update with read", lambda: read.update({"doctype": "Lead", "name": lead["name"], "status": "Lead"}))
    refused("insert_many with read", lambda: read.insert_many([{"doctype": "ToDo", "description": "x"}]))
    refused("submit with read", lambda: read.submit(order()))
    refused("set_value with read", lambda: read.set_value("Lead", lead["name"], "status", "Lead"))
    refused("delete with write", lambda: write.delete("ToDo", names[1]))
    refused("secrets with all", lambda: client(demo, "all").get_list("OAuth Bearer Token"))
    assert read.get_doc("Lead", lead["name"])["status"] == "Open"
    assert read.get_list("ToDo", fields=["name"], filters={"name": names[1]}) == [{"name": names[1]}]

    # A password is never taken, and a bad token is an error.
    for call in (lambda: read.login("Administrator", "admin"), lambda: client(demo | {"tokens": {"x": "nosuch"}}, "x").get_list("Item")):
        try:
            call()
        except (module.AuthError, FrappeException):
            continue
        raise AssertionError("not refused")

    assert requests.get(demo["http_url"] + "/api/resource/Item", headers=read.session.headers, allow_redirects=False).status_code == 403
    print("ok")


main()
