import 'reflect-metadata';
import { webcrypto } from 'node:crypto';

import {
  BasicConstraintsExtension,
  cryptoProvider,
  PemConverter,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
} from '@peculiar/x509';

cryptoProvider.set(webcrypto as unknown as Crypto);

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const validity = (until = new Date(Date.now() + 3_600_000)) => ({
  notBefore: new Date(Math.min(Date.now(), until.getTime()) - 60_000),
  notAfter: until,
});

export interface Authority {
  /** PEM of its certificate. */
  ca: string;
  issue(names: { dns?: string; ip?: string; until?: Date }, subject?: string): Promise<{ cert: string; key: string }>;
}

/** A certificate authority of the test's own; its certificates hold for an hour. */
export async function createAuthority(name: string): Promise<Authority> {
  const keys = (await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])) as unknown as CryptoKeyPair;
  const own = await X509CertificateGenerator.createSelfSigned({
    serialNumber: '01',
    name: `CN=${name}`,
    ...validity(),
    signingAlgorithm: algorithm,
    keys,
    extensions: [new BasicConstraintsExtension(true, 1, true)],
  });
  let serial = 1;
  return {
    ca: own.toString('pem'),
    async issue({ dns, ip, until }, subject = 'flux') {
      const pair = (await webcrypto.subtle.generateKey(algorithm, true, [
        'sign',
        'verify',
      ])) as unknown as CryptoKeyPair;
      serial += 1;
      const certificate = await X509CertificateGenerator.create({
        serialNumber: serial.toString(16).padStart(2, '0'),
        subject: `CN=${subject}`,
        issuer: own.subject,
        ...validity(until),
        signingAlgorithm: algorithm,
        publicKey: pair.publicKey,
        signingKey: keys.privateKey,
        extensions: [
          new SubjectAlternativeNameExtension([
            ...(dns === undefined ? [] : [{ type: 'dns' as const, value: dns }]),
            ...(ip === undefined ? [] : [{ type: 'ip' as const, value: ip }]),
          ]),
        ],
      });
      const key = await webcrypto.subtle.exportKey('pkcs8', pair.privateKey);
      return { cert: certificate.toString('pem'), key: PemConverter.encode(key, 'PRIVATE KEY') };
    },
  };
}
