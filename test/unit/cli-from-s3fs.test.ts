/** Every word of docs/FROM-S3FS.md is understood, in the way that the table says; and s3fs has no word that is not in it. */
import { readFileSync } from 'node:fs';
import t from 'tap';
import { legacyWord } from '../../src/cli/legacy-options.ts';
import { OPTION_OF_WORD } from '../../src/cli/option-table.ts';

const text = readFileSync(new URL('../../docs/FROM-S3FS.md', import.meta.url), 'utf8');
const rows = [...text.matchAll(/^\| (`.*?) \| (.*) \|$/gm)].map(([, words = '', here = '']) => ({
  words: [...words.matchAll(/`([^`]+)`/g)].map(([, word]) => word!),
  here,
}));

/** From s3fs's manual page of 2026, and libfuse's words that stand in people's fstabs. */
const MANUAL =
  'bucket default_acl retries tmpdir use_cache check_cache_dir_exist del_cache storage_class use_rrs use_sse load_sse_c passwd_file ahbe_conf profile public_bucket connect_timeout readwrite_timeout list_object_max_keys max_stat_cache_size stat_cache_expire stat_cache_interval_expire disable_noobj_cache enable_noobj_cache no_check_certificate ssl_verify_hostname ssl_client_cert nodnscache nosscache multireq_max parallel_count multipart_size multipart_copy_size max_dirty_data singlepart_copy_limit host servicepath url region endpoint sigv2 sigv4 mp_umask umask nomultipart streamupload max_thread_count enable_content_md5 enable_unsigned_payload ecs iam_role imdsv1only ibm_iam_auth ibm_iam_endpoint credlib credlib_opts use_xattr noxmlns nomixupload nocopyapi norenameapi use_path_request_style listobjectsv2 noua cipher_suites instance_name complement_stat compat_dir notsup_compat_dir use_wtf8 use_session_token requester_pays mime proxy proxy_cred_file ipresolve logfile dbglevel curldbg no_time_stamp_msg set_check_cache_sigusr1 update_parent_dir_stat allow_other uid gid ro nonempty bucket_size ensure_diskfree free_space_ratio multipart_threshold fake_diskfree hard_remove insecure_logging fsname default_permissions auto_unmount entry_timeout attr_timeout kernel_cache';

t.test('the table has every word of s3fs', async t => {
  const known = new Set(rows.flatMap(({ words }) => words));
  t.same(
    MANUAL.split(' ').filter(word => word !== 'bucket' && !known.has(word)),
    [],
  );
});

t.test('and each does what the table says', async t => {
  for (const { words, here } of rows) {
    for (const word of words) {
      if (word.startsWith('-')) continue;
      const ours = OPTION_OF_WORD.has(word);
      const legacy = legacyWord(word);
      t.ok(ours || legacy !== undefined, `${word} is understood`);
      t.equal(legacy?.kind === 'refused', here.startsWith('refused'), `${word}: ${here}`);
      if (/^the same/.test(here) && !/words; blocks/.test(here))
        t.ok(ours || legacy?.kind === 'means', `${word} has an effect`);
    }
  }
});
