import { assert } from "@std/assert";
import { fuzzKubeconfig } from "../fuzz/kubeconfig_fuzz.ts";

Deno.test("loadAccess() throws nothing but ConfigError for 5,000 damaged kubeconfigs", async () => {
  const { accepted, refused } = await fuzzKubeconfig(5000, 20_260_101);
  assert(accepted > 100 && refused > 1000, `${accepted} accepted, ${refused} refused: the damage is not of both kinds`);
});
