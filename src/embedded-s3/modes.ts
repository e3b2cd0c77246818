/** How other stores differ from S3, one switch each: what a client must find out and live with. */
export interface Modes {
  /** Conditions on PUT and Copy are ignored; `refuse`: answered 501. */
  readonly noConditionalPut?: boolean | 'refuse';
  /** The same for CompleteMultipartUpload. */
  readonly noConditionalComplete?: boolean | 'refuse';
  /** `If-Match` on DELETE is ignored. */
  readonly noConditionalDelete?: boolean;
  /** Conditions must spell the ETag without quotes (Ceph RGW 16): with them it never matches. */
  readonly unquotedEtags?: boolean;
  /** Listings come in no order and know no start-after (S3 directory buckets). */
  readonly unorderedListing?: boolean;
  /** DeleteObjects is answered 501. */
  readonly noDeleteObjects?: boolean;
  /** `encoding-type=url` is ignored. */
  readonly noEncodingType?: boolean;
  /** New buckets keep versions. */
  readonly versioning?: boolean;
  /** Objects are encrypted by KMS unless told otherwise: their ETag is no MD5. */
  readonly kms?: boolean;
  /** The same, by a key that nobody may use: neither GET, PUT nor copy gets through, HEAD and listings do. */
  readonly kmsDenied?: boolean;
  /**
   * New buckets have Object Lock with a default retention: versions are kept, and what brings bytes must bring their
   * checksum too.
   */
  readonly objectLock?: boolean;
  /** ms until a restored copy of an archived object can be read; absent: at once. S3 takes minutes to two days. */
  readonly restoreTakes?: number;
  /** Checksums that requests carry are ignored; `refuse`: such writes are answered 501. */
  readonly noChecksums?: boolean | 'refuse';
  /** Uploads have checksums of checksums only, as before S3 knew those of whole objects. */
  readonly compositeChecksums?: boolean;
  /**
   * A part may carry a checksum only where its upload was begun with that kind, as S3 refused it before it summed every
   * upload by itself.
   */
  readonly partChecksumsAsBegun?: boolean;
  /** Completing a completed upload again succeeds, as S3 does for a while; otherwise NoSuchUpload. */
  readonly repeatableComplete?: boolean;
}
