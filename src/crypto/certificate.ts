import { X509Certificate } from 'node:crypto';

/** When a certificate ends. Nothing is verified. @param pem the first certificate in it is meant @throws it is none */
export function certificateEnd(pem: string): Date {
  return new X509Certificate(pem).validToDate;
}
