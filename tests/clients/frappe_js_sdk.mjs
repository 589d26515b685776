// Drives the npm package `frappe-js-sdk` through a gate: `node frappe_js_sdk.mjs < demo.json`, the line that `scopegate demo --json` prints.
// It finds the package through CLIENTS_NODE_MODULES, and trusts the gate through NODE_EXTRA_CA_CERTS.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const require = createRequire(`${process.env.CLIENTS_NODE_MODULES}/`);
const { FrappeApp } = require('frappe-js-sdk');

const demo = JSON.parse(readFileSync(0, 'utf8'));
const app = (token) => new FrappeApp(demo.base_url, { useToken: true, token: () => token, type: 'Bearer' });
const read = app(demo.tokens.read);
const write = app(demo.tokens['read write']);
const everything = app(demo.tokens['read write delete']);

/** The promise must be rejected with the error that the client makes of Frappe's. */
async function refused(what, promise, status = 403, exception = 'PermissionError') {
  const error = await promise.then(
    (answer) => assert.fail(`${what} was not refused: ${JSON.stringify(answer)}`),
    (error) => error,
  );
  assert.equal(error.httpStatus, status, `${what}: ${JSON.stringify(error)}`);
  assert.equal(error.exc_type, exception, `${what}: ${JSON.stringify(error)}`);
  assert.ok(JSON.parse(JSON.parse(error._server_messages)[0]).message, what);
}

// List and read.
const items = await read.db().getDocList('Item', {
  fields: ['name', 'item_name'],
  filters: [['item_group', '=', 'Lighting']],
  orderBy: { field: 'name', order: 'asc' },
  limit: 2,
});
assert.equal(items.length, 2);
assert.deepEqual(Object.keys(items[0]).sort(), ['item_name', 'name']);
assert.equal((await read.db().getDoc('Item', items[0].name)).item_name, items[0].item_name);
assert.equal(await read.db().getCount('Item', [['item_group', '=', 'Lighting']]), 3);
assert.equal((await read.db().getValue('Item', 'item_name', [['name', '=', items[0].name]])).message.item_name, items[0].item_name);
assert.ok((await read.db().getLastDoc('Lead')).name);

// Create, update, submit, delete.
const lead = await write.db().createDoc('Lead', { first_name: 'Ida', lead_name: 'Ida Ügur', company_name: 'Größe & Söhne' });
assert.equal(lead.company_name, 'Größe & Söhne');
assert.equal((await write.db().updateDoc('Lead', lead.name, { status: 'Open' })).status, 'Open');
assert.equal((await write.db().setValue('Lead', lead.name, 'mobile_no', '+49 30 1')).message.mobile_no, '+49 30 1');
const draft = await write.db().createDoc('Sales Order', { customer: 'Casa Verde', items: [{ item_code: 'ITEM-0001', qty: 2 }] });
assert.equal((await write.db().submit({ ...draft, doctype: 'Sales Order' })).docstatus, 1);
const todo = await write.db().createDoc('ToDo', { description: 'one' });
assert.equal((await everything.db().deleteDoc('ToDo', todo.name)).data, 'ok');
await refused('a deleted document', read.db().getDoc('ToDo', todo.name), 404, 'DoesNotExistError');

// RPC.
assert.equal(typeof (await read.call().get('frappe.auth.get_logged_user')).message, 'string');
assert.equal((await read.call().post('frappe.client.get_list', { doctype: 'Item', limit_page_length: 1 })).message.length, 1);
const second = await write.db().createDoc('ToDo', { description: 'two' });
await everything.call().delete('frappe.client.delete', { doctype: 'ToDo', name: second.name });

// Too little is refused, and the client says so.
await refused('createDoc with read', read.db().createDoc('Lead', { lead_name: 'x' }));
await refused('updateDoc with read', read.db().updateDoc('Lead', lead.name, { status: 'Lead' }));
await refused('deleteDoc with write', write.db().deleteDoc('Lead', lead.name));
await refused('setValue with read', read.db().setValue('Lead', lead.name, 'status', 'Lead'));
await refused('submit with read', read.db().submit({ doctype: 'Sales Order', name: draft.name }));
await refused('an RPC that deletes, with write', write.call().post('frappe.client.delete', { doctype: 'Lead', name: lead.name }));
await refused('secrets with all', app(demo.tokens.all).db().getDocList('OAuth Bearer Token'));
await refused('a bad token', app('nosuch').db().getDocList('Item'), 401, 'AuthenticationError');
assert.equal((await read.db().getDoc('Lead', lead.name)).status, 'Open');

console.log('ok');
