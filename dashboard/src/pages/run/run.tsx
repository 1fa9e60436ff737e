import { Page } from '../../components/page.tsx';

export default function RunPage({ id }: { id: string }) {
  return <Page title={id}>{null}</Page>;
}
