/**
 * Every bound of the lender's rules and of how they are held, each with its reason.
 */
export const IDLENESS_LIMITS = {
  /** Below it a person who thinks for a moment has gone; above it a lunch break is not idle. */
  idleMsMin: 5_000,
  idleMsMax: 14_400_000,
  /** Outside these a line of temperature is a slip: Fahrenheit, or one that no machine is below. */
  celsiusMin: 30,
  celsiusMax: 110,
  /** Between the line where power is lowered and the one where all stops. */
  celsiusBetweenLines: 10,
  /** The list is compared with every process of the machine. */
  programsMax: 64,
  programCharactersMax: 128,
} as const;
