// The layout is that of kubectl's own output for the same tables.
import { assertEquals } from "@std/assert";
import { formatTable, type Table } from "../../lib/cli/table.ts";

const PODS: Table = {
  kind: "Table",
  columnDefinitions: [
    { name: "Name", type: "string", format: "name", priority: 0 },
    { name: "Ready", type: "string", priority: 0 },
    { name: "Status", type: "string", priority: 0 },
    { name: "Restarts", type: "string", priority: 0 },
    { name: "Age", type: "string", priority: 0 },
    { name: "Node", type: "string", priority: 1 },
  ],
  rows: [
    {
      cells: ["web-0", "1/1", "Running", 0, "5d", "node1"],
      object: { metadata: { name: "web-0", namespace: "shop", labels: { tier: "a", app: "web" } } },
    },
    {
      cells: ["a-much-longer-name", "0/1", "CrashLoopBackOff", 12, "3m", null],
      object: { metadata: { name: "a-much-longer-name", namespace: "default" } },
    },
  ],
};

Deno.test("formatTable() pads columns by three and leaves wide ones out", () => {
  assertEquals(
    formatTable(PODS),
    "NAME                 READY   STATUS             RESTARTS   AGE\n" +
      "web-0                1/1     Running            0          5d\n" +
      "a-much-longer-name   0/1     CrashLoopBackOff   12         3m\n",
  );
});

Deno.test("formatTable() shows every column when wide", () => {
  assertEquals(
    formatTable(PODS, { wide: true, noHeaders: true }),
    "web-0                1/1   Running            0     5d    node1\n" +
      "a-much-longer-name   0/1   CrashLoopBackOff   12    3m    \n",
  );
});

Deno.test("formatTable() adds namespaces in front, labels behind, kinds to names", () => {
  assertEquals(
    formatTable({ ...PODS, columnDefinitions: PODS.columnDefinitions.slice(0, 1) }, {
      withNamespace: true,
      showLabels: true,
      kind: "pod",
    }),
    "NAMESPACE   NAME                     LABELS\n" +
      "shop        pod/web-0                app=web,tier=a\n" +
      "default     pod/a-much-longer-name   <none>\n",
  );
});

Deno.test("formatTable() is empty without rows", () => {
  assertEquals(formatTable({ ...PODS, rows: [] }), "");
});

Deno.test("formatTable() cuts a cell at its first line end and disarms escape sequences", () => {
  const table: Table = {
    kind: "Table",
    columnDefinitions: [{ name: "Name" }, { name: "Note" }],
    rows: [{ cells: ["x", "first\nsecond"] }, { cells: ["\x1b[31mred", "ü", "beyond the columns"] }, { cells: [true] }],
  };
  assertEquals(
    formatTable(table),
    "NAME        NOTE\nx           first...\n^[[31mred   ü\ntrue        \n",
  );
});

Deno.test("formatTable() takes as many rows as there are", () => {
  const rows = Array.from({ length: 150_000 }, (_, i) => ({ cells: [`web-${i}`] }));
  const text = formatTable({ kind: "Table", columnDefinitions: [{ name: "Name" }], rows });
  assertEquals([text.slice(0, 11), text.slice(-11)], ["NAME\nweb-0\n", "web-149999\n"]);
});
