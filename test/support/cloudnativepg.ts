/**
 * What of CloudNativePG 1.26 and of its Barman Cloud plugin the manifests may use, after their API references
 * (cloudnative-pg.io, documentation, cloudnative-pg.v1 and plugin-barman-cloud). Narrower than their own schemas, which crd-schemas.ts asks.
 */
import type { ResourceRequirements } from 'kubernetes-models/v1/ResourceRequirements';

interface Resource<Version extends string, Kind extends string, Spec> {
  apiVersion: Version;
  kind: Kind;
  metadata: { name: string; namespace?: string; labels?: Record<string, string> };
  spec: Spec;
}
interface SecretKey {
  name: string;
  key: string;
}
interface Storage {
  size: string;
  storageClass?: string;
}
type Compressed = { compression?: 'gzip' | 'bzip2' | 'snappy'; encryption?: 'AES256' | 'aws:kms' };

export type ICluster = Resource<
  'postgresql.cnpg.io/v1',
  'Cluster',
  {
    instances: number;
    imageName?: string;
    enableSuperuserAccess?: boolean;
    superuserSecret?: { name: string };
    inheritedMetadata?: { labels?: Record<string, string>; annotations?: Record<string, string> };
    bootstrap?: { initdb?: { database: string; owner: string; secret?: { name: string } } };
    affinity?: {
      enablePodAntiAffinity?: boolean;
      podAntiAffinityType?: 'preferred' | 'required';
      topologyKey?: string;
    };
    storage: Storage;
    walStorage?: Storage;
    resources?: Pick<ResourceRequirements, 'requests' | 'limits'>;
    postgresql?: {
      parameters?: Record<string, string>;
      synchronous?: { method: 'any' | 'first'; number: number; dataDurability?: 'required' | 'preferred' };
      shared_preload_libraries?: string[];
    };
    monitoring?: { enablePodMonitor?: boolean };
    plugins?: { name: string; enabled?: boolean; isWALArchiver?: boolean; parameters?: Record<string, string> }[];
  }
>;

export type IScheduledBackup = Resource<
  'postgresql.cnpg.io/v1',
  'ScheduledBackup',
  {
    schedule: string;
    backupOwnerReference?: 'none' | 'self' | 'cluster';
    cluster: { name: string };
    method?: 'barmanObjectStore' | 'volumeSnapshot' | 'plugin';
    pluginConfiguration?: { name: string; parameters?: Record<string, string> };
  }
>;

export type IObjectStore = Resource<
  'barmancloud.cnpg.io/v1',
  'ObjectStore',
  {
    retentionPolicy?: `${number}${'d' | 'w' | 'm'}`;
    configuration: {
      destinationPath: string;
      endpointURL?: string;
      s3Credentials?: { accessKeyId: SecretKey; secretAccessKey: SecretKey };
      wal?: Compressed & { maxParallel?: number };
      data?: Compressed & { jobs?: number };
    };
  }
>;
