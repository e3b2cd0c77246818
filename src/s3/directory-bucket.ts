/**
 * Directory buckets (S3 Express One Zone), as their names tell them: `NAME--ZONE--x-s3`, and access points of such, `…--xa-s3`.
 * They answer at an endpoint of their zone, and are asked with keys of a session (`express-session.ts`).
 */

/** The name before the zone may hold `--` too. */
const NAME = /--([a-z0-9]+(?:-[a-z0-9]+)*)--xa?-s3$/;

/** The zone, such as `use1-az4`; undefined for a bucket of another kind. */
export function zoneOf(bucket: string): string | undefined {
  return NAME.exec(bucket)?.[1];
}

const AREA = /^(usg|us|ap|ca|eu|me|mx|sa|af|il|cn)(ne|nw|se|sw|n|s|e|w|c)(\d)-/;
const DIRECTIONS: Readonly<Record<string, string>> = {
  n: 'north',
  s: 'south',
  e: 'east',
  w: 'west',
  c: 'central',
  ne: 'northeast',
  nw: 'northwest',
  se: 'southeast',
  sw: 'southwest',
};

/** The region that a zone's id begins with (`apne2-az1`: ap-northeast-2); undefined for one that is spelled otherwise. */
export function regionOfZone(zone: string): string | undefined {
  const [, area, direction, number] = AREA.exec(zone) ?? [];
  if (area === undefined) return undefined;
  return `${area === 'usg' ? 'us-gov' : area}-${DIRECTIONS[direction!]}-${number}`;
}
