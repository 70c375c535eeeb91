/* Numbers and times as people read them. */

const NOTHING = '–';

function isNumber(value) {
  return typeof value === 'number' && Number.isFinite(value);
}

function digits(value, fraction) {
  return value.toLocaleString('en', { minimumFractionDigits: fraction, maximumFractionDigits: fraction });
}

function count(value) {
  return isNumber(value) ? digits(value, 0) : NOTHING;
}

/** Per second: a decimal while it matters. */
function rate(value) {
  if (!isNumber(value)) return NOTHING;
  return digits(value, value > 0 && value < 10 ? 1 : 0);
}

function percent(share) {
  if (!isNumber(share)) return NOTHING;
  const value = share * 100;
  return `${digits(value, value <= 0 || value >= 100 ? 0 : value < 10 ? 2 : 1)} %`;
}

function milliseconds(value) {
  if (!isNumber(value)) return NOTHING;
  if (value >= 1000) return `${digits(value / 1000, 2)} s`;
  return `${digits(value, value < 10 ? 2 : value < 100 ? 1 : 0)} ms`;
}

/** How long something lasts: the two largest units. */
function duration(seconds) {
  if (!isNumber(seconds)) return NOTHING;
  if (seconds < 10) return `${digits(Math.max(0, seconds), seconds > 0 ? 1 : 0)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return units(whole, 60, 'min', 's');
  if (whole < 86_400) return units(Math.round(whole / 60), 60, 'h', 'min');
  return units(Math.round(whole / 3600), 24, 'd', 'h');
}

function units(value, size, large, small) {
  const rest = value % size;
  return `${Math.floor(value / size)} ${large}${rest ? ` ${rest} ${small}` : ''}`;
}

function clock(time) {
  return time.toLocaleTimeString('en-GB');
}

/** A time as the server writes it, in whichever of its forms; null when it is none. */
function moment(value) {
  if (value === null || value === undefined) return null;
  const time = new Date(isNumber(value) ? value * 1000 : value);
  return Number.isNaN(time.getTime()) ? null : time;
}

/** A round number, not less than `value`, that an axis may end at. */
function ceiling(value, least) {
  const wanted = Math.max(value, least);
  const power = 10 ** Math.floor(Math.log10(wanted));
  return [1, 1.5, 2, 3, 4, 6, 8, 10].map((step) => step * power).find((end) => end >= wanted * 0.999);
}
