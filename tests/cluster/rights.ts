/**
 * The rights of the users of fixed shape. `up` brings a running cluster to them as well.
 *
 * @module
 */

/** Roles and who has them, for `kubectl apply`. */
export const RIGHTS = [
  binding("token", "cluster-admin"),
  role("getter", [
    {
      apiGroups: [""],
      resources: ["pods", "pods/exec", "pods/attach", "pods/portforward"],
      verbs: ["get"],
    },
  ]),
  binding("getter", "getter"),
  role("creator", [
    { apiGroups: [""], resources: ["pods"], verbs: ["get"] },
    { apiGroups: [""], resources: ["pods/exec", "pods/attach", "pods/portforward"], verbs: ["create"] },
  ]),
  binding("creator", "creator"),
];

function role(name: string, rules: unknown[]): Record<string, unknown> {
  return { apiVersion: "rbac.authorization.k8s.io/v1", kind: "ClusterRole", metadata: { name }, rules };
}

function binding(user: string, roleName: string): Record<string, unknown> {
  const apiGroup = "rbac.authorization.k8s.io";
  return {
    apiVersion: `${apiGroup}/v1`,
    kind: "ClusterRoleBinding",
    metadata: { name: `podwire-test-${user}` },
    roleRef: { apiGroup, kind: "ClusterRole", name: roleName },
    subjects: [{ apiGroup, kind: "User", name: user }],
  };
}
