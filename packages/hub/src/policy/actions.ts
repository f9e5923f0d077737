/**
 * Everything that can be asked of a hub, and on what kind of thing: the one table.
 *
 * Routes name an action of it, `schema.cedarschema` declares the same actions, `policies.cedar` says who may do them. A
 * test holds the schema to this table.
 */
export type ResourceKind = 'Territory' | 'Device' | 'Model' | 'Key';

export const ACTIONS = {
  readStatus: 'Territory',
  readMetrics: 'Territory',
  readAudit: 'Territory',

  answer: 'Territory',
  /** What became of the asker's own requests. */
  readOwnRequests: 'Territory',

  listModels: 'Territory',
  showModel: 'Model',
  addModel: 'Territory',
  removeModel: 'Model',
  /** Also its opposite. */
  pinModel: 'Model',
  uploadBlob: 'Territory',
  fetchBlob: 'Territory',

  createInvite: 'Territory',
  listDevices: 'Territory',
  showDevice: 'Device',
  drainDevice: 'Device',
  revokeDevice: 'Device',

  createKey: 'Territory',
  listKeys: 'Territory',
  revokeKey: 'Key',
  limitKey: 'Key',
  /** What the asker's own key used. */
  readOwnUsage: 'Territory',
  readUsage: 'Territory',
} as const satisfies Record<string, ResourceKind>;

export type Action = keyof typeof ACTIONS;
