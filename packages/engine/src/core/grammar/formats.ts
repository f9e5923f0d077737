/**
 * The formats of strings that JSON Schema names, as patterns: a little narrower than their RFCs, so that whatever is
 * written is valid everywhere (no 31st of a month that has 30 days, no leap seconds).
 */
const DATE = '\\d{4}-((0[1-9]|1[0-2])-(0[1-9]|1\\d|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)';
const TIME = '([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,6})?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)';
const BYTE = '(\\d|[1-9]\\d|1\\d\\d|2[0-4]\\d|25[0-5])';
const LABEL = '[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?';
const HOST = `${LABEL}(\\.${LABEL}){0,4}`;

export const FORMATS: Readonly<Record<string, string>> = {
  date: `^${DATE}$`,
  time: `^${TIME}$`,
  'date-time': `^${DATE}T${TIME}$`,
  duration:
    '^P(\\d{1,4}W|(\\d{1,4}Y(\\d{1,2}M(\\d{1,2}D)?)?|\\d{1,2}M(\\d{1,2}D)?|\\d{1,3}D)(T\\d{1,2}H(\\d{1,2}M)?)?|' +
    'T\\d{1,3}[HMS])$',
  email: `^[A-Za-z0-9_+-]{1,32}(\\.[A-Za-z0-9_+-]{1,32}){0,2}@${LABEL}(\\.${LABEL}){1,3}$`,
  hostname: `^${HOST}$`,
  ipv4: `^${BYTE}\\.${BYTE}\\.${BYTE}\\.${BYTE}$`,
  ipv6: '^[0-9a-f]{1,4}(:[0-9a-f]{1,4}){7}$',
  uuid: '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$',
  uri: `^https?://${HOST}(/[A-Za-z0-9._~-]{0,64}){0,8}$`,
};
