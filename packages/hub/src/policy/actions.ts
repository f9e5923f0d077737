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

  /** Some model, until it is known which. */
  answer: 'Model',
  /** What became of the asker's own requests. */
  readOwnRequests: 'Territory',

  listModels: 'Territory',
  showModel: 'Model',
  addModel: 'Territory',
  removeModel: 'Model',
  /** Also its opposite. */
  pinModel: 'Model',
  /** Also its opposite. */
  stopModel: 'Model',
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

  readPolicy: 'Territory',
  changePolicy: 'Territory',
  /** Asked of devices, never of people: whether texts of a class may be given to them. */
  readText: 'Territory',

  /** Communities of the hub, asked of its first territory. */
  hostTerritory: 'Territory',
} as const satisfies Record<string, ResourceKind>;

export type Action = keyof typeof ACTIONS;
