import { appendFileSync } from 'node:fs';

/** A vitest reporter: writes why each skipped test was skipped (`context.skip('why')`), which the JSON report leaves out. */
export default class SkipNotes {
  onTestCaseResult(test) {
    const { state, note } = test.result();
    if (state === 'skipped' && note) {
      const entry = { file: test.module.moduleId, name: test.fullName.replaceAll(' > ', ' '), note };
      appendFileSync(process.env.SKIP_NOTES_FILE, `${JSON.stringify(entry)}\n`);
    }
  }
}
