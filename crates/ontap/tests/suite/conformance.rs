//! The whole conformance suite, for each driver of the family, against the simulator: one in order, and a worn one.

use crate::array::Array;
use crate::worn::Worn;

mod nas {
    use super::Array;
    driver::conformance!(Array::new("ontap-nas", "").await);
}

mod worn_nas {
    use super::Worn;
    driver::conformance!(Worn::new("ontap-nas", "").await);
}

mod flexgroup {
    use super::Array;
    driver::conformance!(Array::new("ontap-nas-flexgroup", "").await);
}

mod worn_flexgroup {
    use super::Worn;
    driver::conformance!(Worn::new("ontap-nas-flexgroup", "").await);
}

mod iscsi {
    use super::Array;
    driver::conformance!(Array::new("ontap-san", "sanType: iscsi").await);
}

mod worn_iscsi {
    use super::Worn;
    driver::conformance!(Worn::new("ontap-san", "sanType: iscsi").await);
}

mod nvme {
    use super::Array;
    driver::conformance!(Array::new("ontap-san", "sanType: nvme").await);
}

mod worn_nvme {
    use super::Worn;
    driver::conformance!(Worn::new("ontap-san", "sanType: nvme").await);
}

mod san_economy {
    use super::Array;
    driver::conformance!(Array::new("ontap-san-economy", "").await);
}

mod worn_san_economy {
    use super::Worn;
    driver::conformance!(Worn::new("ontap-san-economy", "").await);
}

mod nas_economy {
    use super::Array;
    driver::conformance!(Array::new("ontap-nas-economy", "").await);
}

mod worn_nas_economy {
    use super::Worn;
    driver::conformance!(Worn::new("ontap-nas-economy", "").await);
}
