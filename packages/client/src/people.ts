/** Members, groups, roles and who has them, whoever asks, and what is one's own: routes as methods, with shapes. */
import type { DeviceState, DeviceTier } from '@idlewild/protocol';
import type { CallOptions, HubConnection } from './http.ts';
import type { CreatedInvite, InviteRequest } from './shapes/devices.ts';
import type { CreatedKey, Key, KeyRequest } from './shapes/keys.ts';

export type SubjectKind = 'person' | 'group' | 'key';
export type ScopeKind = 'territory' | 'project' | 'model' | 'pool';

/** On what a role holds: the id of a project, the CID of a model, the name of a pool; empty for the territory. */
export interface Scope {
  readonly kind: ScopeKind;
  readonly id: string;
}

export interface HeldRole {
  readonly role: string;
  readonly scope: Scope;
  /** `null`: until it is taken. */
  readonly expiresAt: string | null;
  readonly by: SubjectKind;
  /** Id of the binding; `null` for what a key was made with. */
  readonly binding: string | null;
  /** Name of the group through which it is held. */
  readonly group: string | null;
}

export interface Named {
  readonly id: string;
  readonly name: string;
}

export interface Member extends Named {
  readonly state: 'active' | 'suspended';
  readonly joinedAt: string;
}

export interface ListedMember extends Member {
  /** Held in the whole territory, and not through a group. */
  readonly roles: readonly string[];
}

export interface MemberDetails extends Member {
  readonly roles: readonly HeldRole[];
  readonly groups: readonly Named[];
  readonly devices: number;
  readonly keys: number;
}

export interface RemovedMember extends Named {
  /** Ids of the devices that were handed back. */
  readonly devices: readonly string[];
  /** How many keys of her own were revoked. */
  readonly keys: number;
}

export interface Group extends Named {
  readonly members: number;
  readonly createdAt: string;
}

export interface Role {
  readonly name: string;
  readonly isBuiltIn: boolean;
  /** `all` is also what is added later. */
  readonly permissions: 'all' | readonly string[];
}

export interface Binding {
  readonly id: string;
  readonly subject: { readonly kind: SubjectKind; readonly id: string; readonly name: string | null };
  readonly role: string;
  readonly scope: Scope;
  readonly expiresAt: string | null;
  readonly createdAt: string;
  readonly createdBy: { readonly id: string; readonly name: string | null };
}

export interface BindingRequest {
  readonly subject: { readonly kind: SubjectKind; readonly id: string };
  readonly role: string;
  /** Absent: the whole territory. */
  readonly scope?: Scope | undefined;
  readonly expiresInSeconds?: number | undefined;
}

/** Who asks. */
export interface Self extends Named {
  readonly kind: 'key' | 'person' | 'device';
  /** Behind the asker. */
  readonly person: string | null;
  readonly state: 'active' | 'suspended' | null;
  readonly territory: Named;
  readonly roles: readonly HeldRole[];
  readonly groups: readonly Named[];
  /** Of the hub; of a key none. */
  readonly communities: readonly {
    readonly id: string;
    readonly name: string;
    readonly called: string;
    readonly state: 'active' | 'suspended';
  }[];
  /**
   * How far those, and one's own devices, are all: `all` where the hub holds one community; what is `here`, for a key
   * or a session without a passkey, whether or not there is more; what is where one has the `passkey` of this session.
   */
  readonly shows: 'all' | 'here' | 'passkey';
  /** Actions of the policy that it may do, on something at least. */
  readonly may: readonly string[];
}

export interface OwnDevice extends Named {
  readonly territory: Named;
  readonly state: DeviceState;
  readonly tier: DeviceTier;
  readonly lastSeenAt: string;
  readonly enrolledAt: string;
}

export interface People {
  /** Who asks, and what it may do. */
  self(options?: CallOptions): Promise<Self>;
  /** Leaves the community for good; `name`: what one is called in it. */
  leave(name: string, options?: CallOptions): Promise<RemovedMember>;
  readonly members: {
    /** All of them, by name. */
    list(options?: CallOptions): Promise<ListedMember[]>;
    /** Who is called so. */
    named(name: string, options?: CallOptions): Promise<ListedMember | undefined>;
    get(id: string, options?: CallOptions): Promise<MemberDetails>;
    rename(id: string, name: string, options?: CallOptions): Promise<Member>;
    /** From now on she may do nothing. */
    suspend(id: string, options?: CallOptions): Promise<Member>;
    resume(id: string, options?: CallOptions): Promise<Member>;
    remove(id: string, options?: CallOptions): Promise<RemovedMember>;
  };
  readonly groups: {
    list(options?: CallOptions): Promise<Group[]>;
    members(id: string, options?: CallOptions): Promise<Named[]>;
    create(name: string, options?: CallOptions): Promise<Group>;
    rename(id: string, name: string, options?: CallOptions): Promise<Group>;
    remove(id: string, options?: CallOptions): Promise<void>;
    add(id: string, person: string, options?: CallOptions): Promise<void>;
    take(id: string, person: string, options?: CallOptions): Promise<void>;
  };
  readonly roles: {
    list(options?: CallOptions): Promise<Role[]>;
    get(name: string, options?: CallOptions): Promise<Role>;
    create(
      role: { readonly name: string; readonly permissions: readonly string[] },
      options?: CallOptions,
    ): Promise<Role>;
    /** Those are its permissions from now on. */
    change(name: string, permissions: readonly string[], options?: CallOptions): Promise<Role>;
    /** Forced: also from whoever has it. */
    remove(name: string, request?: { readonly force?: boolean | undefined }, options?: CallOptions): Promise<void>;
  };
  readonly bindings: {
    /** All that hold. */
    list(
      query?: { readonly subject?: string | undefined; readonly role?: string | undefined },
      options?: CallOptions,
    ): Promise<Binding[]>;
    create(request: BindingRequest, options?: CallOptions): Promise<Binding>;
    remove(id: string, options?: CallOptions): Promise<void>;
  };
  /** Of the person who asks. */
  readonly own: {
    keys(options?: CallOptions): Promise<Key[]>;
    createKey(request: KeyRequest, options?: CallOptions): Promise<CreatedKey>;
    /** In all communities of the hub. */
    devices(options?: CallOptions): Promise<OwnDevice[]>;
    drainDevice(device: OwnDevice, options?: CallOptions): Promise<void>;
    takeBackDevice(device: OwnDevice, options?: CallOptions): Promise<void>;
    invite(request: Pick<InviteRequest, 'uses' | 'expiresInSeconds'>, options?: CallOptions): Promise<CreatedInvite>;
  };
}

const at = (base: string, ...names: string[]): string => [base, ...names.map(encodeURIComponent)].join('/');

function withQuery(path: string, query: Readonly<Record<string, string | undefined>>): string {
  const asked = Object.entries(query).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return asked.length === 0 ? path : `${path}?${new URLSearchParams(asked).toString()}`;
}

const PAGE_ROWS = 200;

/** All pages of a list, each asked for behind the last row of the one before. */
async function allOf<Row>(
  page: (after: string | undefined) => Promise<Row[]>,
  place: (row: Row) => string,
): Promise<Row[]> {
  const all: Row[] = [];
  for (let after: string | undefined; ;) {
    const rows = await page(after);
    all.push(...rows);
    const last = rows.at(-1);
    if (last === undefined || rows.length < PAGE_ROWS) return all;
    after = place(last);
  }
}

export function peopleOf(json: HubConnection['json']): People {
  const members = '/api/members';
  const groups = '/api/groups';
  const roles = '/api/roles';
  const bindings = '/api/bindings';
  const inTerritory = ({ id, territory }: OwnDevice, more = ''): string =>
    withQuery(at('/api/devices/own', id) + more, { territory: territory.id });
  return {
    self: (options) => json('GET', '/api/me', undefined, options),
    leave: (name, options) => json('POST', '/api/me/leave', { name }, options),
    members: {
      list: (options) =>
        allOf<ListedMember>(
          (after) => json('GET', withQuery(members, { after }), undefined, options),
          ({ name }) => name,
        ),
      async named(name, options) {
        const [member] = await json<ListedMember[]>('GET', withQuery(members, { name }), undefined, options);
        return member;
      },
      get: (id, options) => json('GET', at(members, id), undefined, options),
      rename: (id, name, options) => json('PATCH', at(members, id), { name }, options),
      suspend: (id, options) => json('POST', at(members, id, 'suspend'), undefined, options),
      resume: (id, options) => json('POST', at(members, id, 'resume'), undefined, options),
      remove: (id, options) => json('DELETE', at(members, id), undefined, options),
    },
    groups: {
      list: (options) => json('GET', groups, undefined, options),
      members: (id, options) => json('GET', at(groups, id, 'members'), undefined, options),
      create: (name, options) => json('POST', groups, { name }, options),
      rename: (id, name, options) => json('PATCH', at(groups, id), { name }, options),
      remove: (id, options) => json('DELETE', at(groups, id), undefined, options),
      add: (id, person, options) => json('PUT', at(groups, id, 'members', person), undefined, options),
      take: (id, person, options) => json('DELETE', at(groups, id, 'members', person), undefined, options),
    },
    roles: {
      list: (options) => json('GET', roles, undefined, options),
      get: (name, options) => json('GET', at(roles, name), undefined, options),
      create: (role, options) => json('POST', roles, role, options),
      change: (name, permissions, options) => json('PUT', at(roles, name), { permissions }, options),
      remove: (name, { force = false } = {}, options) =>
        json('DELETE', withQuery(at(roles, name), { force: String(force) }), undefined, options),
    },
    bindings: {
      list: (query = {}, options) =>
        allOf<Binding>(
          (after) => json('GET', withQuery(bindings, { ...query, after }), undefined, options),
          ({ id }) => id,
        ),
      create: (request, options) => json('POST', bindings, request, options),
      remove: (id, options) => json('DELETE', at(bindings, id), undefined, options),
    },
    own: {
      keys: (options) => json('GET', '/api/keys/own', undefined, options),
      createKey: (request, options) => json('POST', '/api/keys/own', request, options),
      devices: (options) => json('GET', '/api/devices/own', undefined, options),
      drainDevice: (device, options) => json('POST', inTerritory(device, '/drain'), undefined, options),
      takeBackDevice: (device, options) => json('DELETE', inTerritory(device), undefined, options),
      invite: (request, options) => json('POST', '/api/invites/own', request, options),
    },
  };
}
