import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { X509Certificate } from "node:crypto";
import { selfSignedCertificate } from "../../lib/server/mod.ts";

Deno.test("selfSignedCertificate() names this machine, and its key is its own", async () => {
  const { cert, key } = await selfSignedCertificate();
  const certificate = new X509Certificate(cert);
  assertEquals(certificate.verify(certificate.publicKey), true);
  assertMatch(key, /^-----BEGIN PRIVATE KEY-----\n[^]*\n-----END PRIVATE KEY-----\n$/);
  assertEquals(certificate.subject, "CN=podwire");
  const [from, to] = [Date.parse(certificate.validFrom), Date.parse(certificate.validTo)];
  assertEquals([from < Date.now(), to > Date.now() + 300 * 24 * 3600 * 1000], [true, true]);
  assertEquals((await selfSignedCertificate()).cert === cert, false);
});

Deno.test("selfSignedCertificate() is accepted by who trusts it, for this machine's names alone", async () => {
  const own = await selfSignedCertificate();
  const other = await selfSignedCertificate();
  await using server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, ...own, onListen: () => {} },
    () => new Response("ok"),
  );
  const { port } = server.addr;
  using trusting = Deno.createHttpClient({ caCerts: [own.cert] });
  using distrusting = Deno.createHttpClient({ caCerts: [other.cert] });
  for (const name of ["127.0.0.1", "localhost"]) {
    assertEquals(await (await fetch(`https://${name}:${port}/`, { client: trusting })).text(), "ok");
  }
  await assertRejects(() => fetch(`https://127.0.0.1:${port}/`, { client: distrusting }), TypeError);
  await assertRejects(() => fetch(`https://127.0.0.2:${port}/`, { client: trusting }), TypeError);
});
