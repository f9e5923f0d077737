/**
 * Everything that can be asked of a hub, and on what kind of thing: the one table.
 *
 * Routes name an action of it, `schema.cedarschema` declares the same actions, `policies.cedar` says who may do them. A
 * test holds the schema to this table.
 */
export type ResourceKind = 'Territory' | 'Device' | 'Model' | 'Key' | 'DataClass';

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

  /** Who the asker is, and what it may do. */
  readSelf: 'Territory',
  /** Members, groups, roles and who has them. */
  readPeople: 'Territory',
  manageMembers: 'Territory',
  manageGroups: 'Territory',
  manageRoles: 'Territory',
  /** Also its opposite. Nobody gives what she does not hold. */
  bindRole: 'Territory',

  /** Her own sessions, passkeys and linked accounts; programs that sign in as her. */
  manageOwnSignIn: 'Territory',
  invitePerson: 'Territory',
  /** A link that signs somebody in who is a member already. */
  linkMember: 'Territory',
  /** Those of others. */
  endSessions: 'Territory',
  /** Which providers say who somebody is. */
  manageSignIn: 'Territory',

  createInvite: 'Territory',
  /** For devices of the asker. */
  inviteOwnDevice: 'Territory',
  listOwnDevices: 'Territory',
  /** To drain or take back what the asker lends, in whichever of her communities. */
  controlOwnDevices: 'Territory',
  /** Those that each asker may see: of a role on a pool, the pool's. */
  listDevices: 'Device',
  showDevice: 'Device',
  drainDevice: 'Device',
  revokeDevice: 'Device',
  /** How far it is trusted, and whose it is. */
  tierDevice: 'Device',
  /** Into a pool, and out of it. */
  poolDevice: 'Device',
  /** By a steward's signature, which no hub can make. */
  vouchDevice: 'Device',
  /** The public keys by which stewards vouch. */
  listStewards: 'Territory',
  /** Also its opposite. */
  addSteward: 'Territory',

  /** Keys of the territory. */
  createKey: 'Territory',
  /** Keys of the person who asks. */
  createOwnKey: 'Territory',
  listOwnKeys: 'Territory',
  listKeys: 'Territory',
  revokeKey: 'Key',
  limitKey: 'Key',
  /** What the asker's own key used. */
  readOwnUsage: 'Territory',
  readUsage: 'Territory',

  /** Those that there are, of which each asker sees its own. */
  listProjects: 'Territory',
  showProject: 'Territory',
  createProject: 'Territory',
  changeProject: 'Territory',
  askAllocation: 'Territory',
  /** Also denies and ends. */
  grantAllocation: 'Territory',
  /** Caps of the territory, its projects, keys and people; the daily floor. */
  capSpending: 'Territory',
  readShowback: 'Territory',

  /** The rules of use, to which everybody is held. */
  readUse: 'Territory',
  changeUse: 'Territory',
  /** Against what the rules of use refused to the asker. */
  appeal: 'Territory',
  decideAppeals: 'Territory',

  readPolicy: 'Territory',
  changePolicy: 'Territory',
  /** Asked of tiers of devices, never of people. */
  readText: 'DataClass',

  /** The territory itself. */
  renameTerritory: 'Territory',
  /** Communities of the hub, asked of its first territory. */
  hostTerritory: 'Territory',
} as const satisfies Record<string, ResourceKind>;

export type Action = keyof typeof ACTIONS;

/** What a session may that is of somebody who is suspended: her devices are hers. It is no policy's. */
const OF_SUSPENDED: ReadonlySet<string> = new Set<Action>(['readSelf', 'listOwnDevices', 'controlOwnDevices']);
export const isOfSuspended = (action: string | undefined): boolean => action !== undefined && OF_SUSPENDED.has(action);
