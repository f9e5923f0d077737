/** What a placement is about: devices with what they lend and hold, models with what they take, and the rules. */
export interface PlacedDevice {
  readonly id: string;
  /** Takes work now. Of others nothing is asked and nothing taken, and what they hold does not count as a copy. */
  readonly live: boolean;
  readonly memoryBytes: number;
  readonly diskBytes: number;
  readonly tokensPerSecond: number;
  /** What it was told last, in order of preference. */
  readonly holding: readonly Holding[];
  /** Models that it cannot make ready. */
  readonly failed: ReadonlySet<string>;
}

export interface PlacedModel {
  readonly cid: string;
  /** Of all its files. */
  readonly bytes: number;
  /** Measured where it was loaded, or an estimate. */
  readonly memoryBytes: number;
  readonly pinned: boolean;
}

export interface Holding {
  readonly cid: string;
  /** Meant to be warm; otherwise it lies on the disk for when it is. */
  readonly warm: boolean;
  readonly sinceMs: number;
}

/** Somebody asks for these, and only some devices may serve them. */
export interface Need {
  /** To be warm on one device together: what answers first, then what holds texts to rules for it. */
  readonly cids: readonly string[];
  /** Ids of the devices that may. */
  readonly among: ReadonlySet<string>;
  /** Requests, which are counted among those for the first model. */
  readonly perMinute: number;
}

export interface PlaceRules {
  /** Copies of a model that there should be, while there are as many devices. */
  readonly copies: number;
  /** No copy gives way sooner after it came. */
  readonly dwellMs: number;
  /** How many times as much the one that comes must be asked for. */
  readonly gain: number;
  /** Requests per minute and copy from which on a further copy is worth fetching. */
  readonly spreadDemandMin: number;
  /** Copies that spread at once: a wave of fetches must not drown the answers. */
  readonly spreadMax: number;
  readonly modelsPerDeviceMax: number;
}

export const PLACE_RULES: PlaceRules = {
  copies: 3,
  dwellMs: 600_000,
  gain: 3,
  spreadDemandMin: 1,
  spreadMax: 64,
  modelsPerDeviceMax: 32,
};
