/**
 * How many grams of CO₂ a kilowatt-hour is worth, by country.
 *
 * The table is of Ember's Yearly Electricity Data as it was in 2025 (https://ember-energy.org, CC BY 4.0): grams of
 * CO₂ equivalents over the whole life of what makes the electricity, for each kilowatt-hour that the country
 * generates, in its mean over the year, rounded to grams. It knows neither imports nor the hour, and it is a mean:
 * what one kilowatt-hour more causes is mostly more. So it is good for orders of magnitude; who knows better says so
 * with a number.
 */
import { IdlewildError } from '@idlewild/protocol';
import { ENERGY_LIMITS } from './limits.ts';

/** By ISO 3166-1 alpha-2, and the year where it is not 2024. */
const TABLE = `
  AE:493:2023 AL:24:2023 AM:244 AR:359 AT:103 AU:552 AZ:633 BA:638 BD:695 BE:118 BG:264 BO:468 BR:103 BY:314
  CA:175 CH:37 CL:266 CN:560 CO:286 CR:63 CY:512 CZ:414 DE:344 DK:143 DO:566 DZ:634:2023 EC:210 EE:341 EG:572
  ES:146 ET:24:2023 FI:72 FR:44 GB:211 GE:143 GH:453:2023 GR:320 GT:273:2023 HK:682:2023 HR:174 HU:183 ID:682:2023
  IE:280 IL:567:2023 IN:708 IQ:689:2023 IR:642 IS:28:2023 IT:288 JO:539:2022 JP:482 KE:89 KG:163 KR:414 KW:637
  KZ:802 LK:510:2022 LT:139 LU:135 LV:136 MA:578 MD:632 ME:414 MK:569 MM:579 MN:784 MT:484 MX:485 MY:610 NG:508
  NL:253 NO:31 NP:23:2022 NZ:120 OM:545 PA:259:2023 PE:263 PH:613 PK:399 PL:615 PR:665 PT:112 PY:25:2023 QA:603
  RO:246 RS:673 RU:449 SA:696:2023 SE:36 SG:499 SI:228 SK:96 SN:535:2023 TH:555 TN:560 TR:470 TW:636 TZ:372:2023
  UA:256:2022 UG:57:2022 US:384 UY:97 UZ:1121:2023 VE:180:2023 VN:471 XK:959 ZA:709
`;

/** Of all countries together, 2024. */
const WORLD_GRAMS_PER_KWH = 473;

const COUNTRIES = new Map(
  TABLE.trim()
    .split(/\s+/)
    .map((entry) => {
      const [country = '', grams, year = '2024'] = entry.split(':');
      return [country, { gramsPerKwh: Number(grams), year }] as const;
    }),
);

export interface Grid {
  readonly gramsPerKwh: number;
  /** Whose number it is, for people. */
  readonly text: string;
}

/** As `lending.json` has it. */
export interface GridSaid {
  /** ISO 3166 country, in two capitals. */
  readonly place?: string | undefined;
  /** The lender's own number, which counts before any table's. */
  readonly gramsPerKwh?: number | undefined;
}

/** A country that the table has not is counted as the world, and says so. */
export function gridOf({ place, gramsPerKwh }: GridSaid = {}): Grid {
  if (gramsPerKwh !== undefined) return { gramsPerKwh, text: `${gramsPerKwh} g/kWh, as its lender says` };
  const known = place === undefined ? undefined : COUNTRIES.get(place);
  if (known !== undefined) {
    return {
      gramsPerKwh: known.gramsPerKwh,
      text: `${known.gramsPerKwh} g/kWh, the mean of ${place} in ${known.year} (Ember)`,
    };
  }
  const why = place === undefined ? '' : `; ${place} is not in the table`;
  return {
    gramsPerKwh: WORLD_GRAMS_PER_KWH,
    text: `${WORLD_GRAMS_PER_KWH} g/kWh, the mean of the world in 2024 (Ember)${why}`,
  };
}

/** Of the words `DE` or `350`. Throws `usage` for anything else. */
export function parseGrid(text: string): GridSaid {
  const word = text.trim();
  if (/^[a-z]{2}$/i.test(word)) return { place: word.toUpperCase() };
  const gramsPerKwh = word === '' ? Number.NaN : Number(word);
  if (gramsPerKwh >= 0 && gramsPerKwh <= ENERGY_LIMITS.gramsPerKwhMax) return { gramsPerKwh };
  throw new IdlewildError(
    'usage',
    `"${text}" is no grid: name a country in two letters, as in DE, or grams of CO₂ for a kilowatt-hour, as in 350`,
  );
}

export const gramsOf = (wattHours: number, { gramsPerKwh }: Grid): number => (wattHours * gramsPerKwh) / 1_000;
