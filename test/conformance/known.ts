/** Cases of pjdfstest that fail here by design, each kind with its statement in docs/SEMANTICS.md. Nothing else may fail. */

/** What a failing case says, so that a case does not hide behind its name when it fails for another reason. */
export interface KnownFailure {
  readonly why: string;
  readonly cases: RegExp;
  readonly says: RegExp;
  /** How many there are; fewer is news as well. */
  readonly count: number;
}

export const KNOWN: readonly KnownFailure[] = [
  {
    why: 'S3 has no hard links: link(2) is refused with EPERM',
    cases:
      /^(link::(changed_ctime_success|share_metadata|remove_link)|unlink::(update_ctime_success|unchanged_ctime_failed)|rename::(preserve_metadata|to_multiply_linked))::/,
    says: /EPERM|link\(&file, &new_path\)\.is_ok\(\)/,
    count: 35,
  },
  {
    why: "a path of PATH_MAX needs a key above S3's 1,024 bytes: refused with ENAMETOOLONG where it is made",
    cases: /::enametoolong_path$/,
    says: /code: 36/,
    count: 14,
  },
];
